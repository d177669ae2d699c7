#!lua flags=allow-oom
-- Moves the heartbeat counter of a shard. Allowed when memory is full: an owner that cannot write still owns.
--
-- KEYS
--   1  meta   hash
-- ARGV
--   1  the epoch of the lease
--   2  its node
-- Returns
--   the number of the last commit if the lease holds, else false

local stored = redis.call('HMGET', KEYS[1], 'epoch', 'beat', 'owner', 'number')
if tonumber(stored[1]) ~= tonumber(ARGV[1]) or stored[3] ~= ARGV[2] then return false end
redis.call('HSET', KEYS[1], 'beat', string.format('%.0f', (tonumber(stored[2]) or 0) + 1))
return stored[4] or '0'
