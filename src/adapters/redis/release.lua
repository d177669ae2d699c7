#!lua flags=allow-oom
-- Gives a shard up cleanly; nothing happens if the lease is lost.
--
-- KEYS
--   1  meta   hash
-- ARGV
--   1  the epoch of the lease
-- Returns
--   1 if the lease held, else 0

if tonumber(redis.call('HGET', KEYS[1], 'epoch')) ~= tonumber(ARGV[1]) then return 0 end
redis.call('HDEL', KEYS[1], 'owner')
redis.call('HSET', KEYS[1], 'clean', '1')
return 1
