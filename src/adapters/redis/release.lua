#!lua flags=allow-oom
-- Gives a shard up cleanly; nothing happens if the lease is lost.
--
-- KEYS
--   1  meta   hash
-- ARGV
--   1  the epoch of the lease
--   2  its node
--   3  channel on which those who wait for the shard are told
-- Returns
--   1 if the lease held, else 0

local stored = redis.call('HMGET', KEYS[1], 'epoch', 'number', 'owner')
if tonumber(stored[1]) ~= tonumber(ARGV[1]) or stored[3] ~= ARGV[2] then return 0 end
-- First, because a user may lack the right to a channel.
redis.call('PUBLISH', ARGV[3], stored[2] or '0')
redis.call('HDEL', KEYS[1], 'owner')
redis.call('HSET', KEYS[1], 'clean', '1')
return 1
