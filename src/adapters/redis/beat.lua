#!lua flags=allow-oom
-- A node's sign of life. Allowed when memory is full: a node that cannot write still lives.
--
-- KEYS
--   1  nodes   hash: a node's counter, a space, and 'here', 'leaving' or 'dead'
-- ARGV
--   1   the node
--   2   'here', 'leaving' or 'gone'
--   3   channel that tells of who comes and leaves
--   4…  nodes to mark as dead, or to take off the list if they are, each with the counter that it must still have
-- Returns
--   nodes and what is kept of them, by turns

local NODES, node, as = KEYS[1], ARGV[1], ARGV[2]

local function seen(id)
  local kept = redis.call('HGET', NODES, id)
  if not kept then return nil end
  return string.match(kept, '^(%d+) (%a+)$')
end

local beat, before = seen(node)
-- First, because a user may lack the right to a channel.
if (before or 'gone') ~= as then redis.call('PUBLISH', ARGV[3], node) end
for i = 4, #ARGV, 2 do
  local kept, presence = seen(ARGV[i])
  if kept == ARGV[i + 1] then
    if presence == 'dead' then redis.call('HDEL', NODES, ARGV[i]) else redis.call('HSET', NODES, ARGV[i], kept .. ' dead') end
  end
end
if as == 'gone' then
  redis.call('HDEL', NODES, node)
else
  redis.call('HSET', NODES, node, string.format('%.0f', (tonumber(beat) or 0) + 1) .. ' ' .. as)
end
return redis.call('HGETALL', NODES)
