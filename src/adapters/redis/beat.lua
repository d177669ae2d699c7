#!lua flags=allow-oom
-- A node's sign of life. Allowed when memory is full: a node that cannot write still lives.
--
-- KEYS
--   1  nodes       hash: a node's counter, a space, and 'here', 'leaving' or 'dead'
--   2  state       hash: `beats`, signs of life so far; `halted`, why no shard may be run; `accepted`, how often it was accepted;
--                 `mark`, of what move it is a side
-- ARGV
--   1   the node
--   2   'here', 'leaving' or 'gone'
--   3   channel that tells of who comes and leaves
--   4…  silent nodes, each with the counter that it must still have and how it was seen: 'dead' ones are taken off the
--       list, others marked
-- Returns
--   beats, accepted, why the namespace is halted, or false, and its mark, or false; then nodes and what is kept of them, by turns

local NODES, node, as = KEYS[1], ARGV[1], ARGV[2]

local function seen(id)
  local kept = redis.call('HGET', NODES, id)
  if not kept then return nil end
  return string.match(kept, '^(%d+) (%a+)$')
end

local beat, before = seen(node)
-- First, because a user may lack the right to a channel.
if (before or 'gone') ~= as then redis.call('PUBLISH', ARGV[3], node) end
for i = 4, #ARGV, 3 do
  local id, counter = ARGV[i], ARGV[i + 1]
  if seen(id) == counter then
    if ARGV[i + 2] == 'dead' then redis.call('HDEL', NODES, id) else redis.call('HSET', NODES, id, counter .. ' dead') end
  end
end
if as == 'gone' then
  redis.call('HDEL', NODES, node)
else
  redis.call('HSET', NODES, node, string.format('%.0f', (tonumber(beat) or 0) + 1) .. ' ' .. as)
end
redis.call('HINCRBY', KEYS[2], 'beats', 1)
return { redis.call('HMGET', KEYS[2], 'beats', 'accepted', 'halted', 'mark'), redis.call('HGETALL', NODES) }
