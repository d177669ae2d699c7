#!lua flags=allow-oom
-- Has every node let go of its shards, or lets them go on. Allowed when memory is full: what was lost is lost.
--
-- KEYS
--   1  state       hash, see beat.lua
--   2  namespace   hash
-- ARGV
--   1    why, or '' to accept
--   2    how often it had been accepted when that was found: nothing happens if it has been since
--   3    channel that tells of it
--   4-6  shards, incarnation and format of the namespace, should it have been lost

local STATE = KEYS[1]
local accepted = tonumber(redis.call('HGET', STATE, 'accepted')) or 0
if ARGV[1] ~= '' and accepted > tonumber(ARGV[2]) then return 0 end
-- First, because a user may lack the right to a channel.
redis.call('PUBLISH', ARGV[3], '')
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'shards', ARGV[4], 'incarnation', ARGV[5], 'format', ARGV[6])
end
if ARGV[1] ~= '' then
  redis.call('HSET', STATE, 'halted', ARGV[1])
else
  redis.call('HDEL', STATE, 'halted')
  redis.call('HINCRBY', STATE, 'accepted', 1)
end
return 1
