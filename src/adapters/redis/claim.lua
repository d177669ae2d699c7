#!lua flags=allow-oom
-- Takes ownership of a shard: one that nobody holds, that this node holds, or whose holder's counter has not moved
-- since it was seen.
--
-- KEYS
--   1  meta   hash
--   2  log    stream
-- ARGV
--   1  the node
--   2  the holder as seen before, or ''
--   3  its counter then, or ''
--   4  how often the namespace was accepted
--   5  by how much epoch and number move on if that is more often than at any claim before, or another node is taken over
-- Returns
--   {'lease', epoch, number, position, tail, clock, clean ('1' or '0'), number before it moved on}
--   {'held', node, counter}
--   error SEALED if a move has closed the shard
--   {'broken', last number of the log, tail}   the log is ahead of its counter: somebody else removed meta

local META, LOG = KEYS[1], KEYS[2]
local stored = redis.call('HMGET', META, 'owner', 'beat', 'epoch', 'number', 'position', 'seq', 'clock', 'clean', 'sealed', 'accepted')
if stored[9] then return redis.error_reply('SEALED ' .. string.match(stored[9], '^%S+ (.*)$')) end
local owner, beat = stored[1], stored[2] or '0'
if owner and owner ~= ARGV[1] and not (owner == ARGV[2] and beat == ARGV[3]) then return { 'held', owner, beat } end

local tail = stored[6] or '0'
if redis.call('EXISTS', LOG) == 1 then
  local info = redis.call('XINFO', 'STREAM', LOG)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local last = string.match(info[i + 1], '^%d+')
      if tonumber(last) > tonumber(tail) then return { 'broken', last, tail } end
    end
  end
end

local epoch, number = (tonumber(stored[3]) or 0) + 1, stored[4] or '0'
local isAfter = tonumber(ARGV[4]) > (tonumber(stored[10]) or 0)
if isAfter then redis.call('HSET', META, 'accepted', ARGV[4]) end
if isAfter or (owner and owner ~= ARGV[1]) then
  epoch = epoch + tonumber(ARGV[5])
  number = string.format('%.0f', tonumber(number) + tonumber(ARGV[5]))
  redis.call('HSET', META, 'number', number)
end
epoch = string.format('%.0f', epoch)
local moved = string.format('%.0f', tonumber(beat) + 1)
redis.call('HSET', META, 'owner', ARGV[1], 'beat', moved, 'epoch', epoch, 'clean', '0')
return { 'lease', epoch, number, stored[5] or '0', tail, stored[7] or '0', stored[8] or '1', stored[4] or '0' }
