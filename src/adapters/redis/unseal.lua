#!lua flags=allow-oom
-- Opens a shard that a move has sealed, and keeps that move from sealing it again. Nothing happens if another one has it.
--
-- KEYS
--   1  meta   hash, see seal.lua
-- ARGV
--   1  the move
-- Returns
--   1, or 0 if another move has it

local sealed = redis.call('HGET', KEYS[1], 'sealed')
if sealed and string.match(sealed, '^%S+') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'sealed', 'imported')
redis.call('HSET', KEYS[1], 'over', ARGV[1])
return 1
