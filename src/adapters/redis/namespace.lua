#!lua flags=allow-oom
-- Creates a namespace if it is new, and tells its settings. Before that it makes each kind of write once on a key of
-- its own: a user whose rights end in the middle of a commit would leave half of it behind.
--
-- KEYS
--   1  namespace   hash
--   2  probe       written to and removed
--   3  state       hash, see beat.lua
-- ARGV
--   1  number of shards, should it be new; '' where it must not be new
--   2  incarnation, should it be new
--   3  format of the data, should it be new
--   4  a channel to publish on
-- Returns
--   {number of shards, incarnation, format}, or three times nothing if there is no such namespace; then its mark, or false

local PROBE = KEYS[2]
redis.call('UNLINK', PROBE)
redis.call('HSET', PROBE, 'f', '1')
redis.call('HLEN', PROBE)
redis.call('HGET', PROBE, 'f')
redis.call('HMGET', PROBE, 'f')
redis.call('HGETALL', PROBE)
redis.call('HINCRBY', PROBE, 'f', 1)
redis.call('HDEL', PROBE, 'f')
redis.call('XADD', PROBE, 'MAXLEN', '~', '10', '0-*', 'f', '1')
redis.call('XLEN', PROBE)
redis.call('XRANGE', PROBE, '-', '+')
redis.call('XINFO', 'STREAM', PROBE)
redis.call('XTRIM', PROBE, 'MINID', '1-0')
redis.call('XSETID', PROBE, '1-0')
redis.call('UNLINK', PROBE)
redis.call('ZADD', PROBE, '0', 'm')
redis.call('ZCARD', PROBE)
redis.call('ZMSCORE', PROBE, 'm')
redis.call('ZRANGEBYSCORE', PROBE, '-inf', '0', 'LIMIT', 0, 1)
redis.call('ZRANGEBYLEX', PROBE, '-', '+')
redis.call('ZREMRANGEBYSCORE', PROBE, '5', '5')
redis.call('ZREM', PROBE, 'm')
redis.call('SADD', PROBE, 'm')
redis.call('SCARD', PROBE)
redis.call('SREM', PROBE, 'm')
redis.call('RPUSH', PROBE, '1')
redis.call('LLEN', PROBE)
redis.call('LTRIM', PROBE, 1, -1)
redis.call('EXISTS', PROBE)
redis.call('TIME')
redis.call('PUBLISH', ARGV[4], '')

if ARGV[1] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'shards', ARGV[1], 'incarnation', ARGV[2], 'format', ARGV[3])
end
local settings = redis.call('HMGET', KEYS[1], 'shards', 'incarnation', 'format')
settings[4] = redis.call('HGET', KEYS[3], 'mark')
return settings
