#!lua flags=allow-oom
-- Moves the heartbeat counter of a shard. Allowed when memory is full: an owner that cannot write still owns.
--
-- KEYS
--   1  meta   hash
-- ARGV
--   1  the epoch of the lease
--   2  its node
-- Returns
--   1 if the lease holds, else 0

local stored = redis.call('HMGET', KEYS[1], 'epoch', 'beat', 'owner')
if tonumber(stored[1]) ~= tonumber(ARGV[1]) or stored[3] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'beat', string.format('%.0f', (tonumber(stored[2]) or 0) + 1))
return 1
