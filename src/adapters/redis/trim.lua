#!lua flags=allow-oom
-- Removes the entries of a stream up to and including a sequence number. Allowed when memory is full: it frees some.
--
-- KEYS
--   1  meta   hash
--   2  the stream
-- ARGV
--   1  the sequence number
-- Returns
--   how many were removed; none if a move has closed the shard

local through = tonumber(ARGV[1])
if not through or through ~= through then return redis.error_reply('ERR trim through ' .. ARGV[1]) end
if redis.call('HEXISTS', KEYS[1], 'sealed') == 1 then return 0 end
return redis.call('XTRIM', KEYS[2], 'MINID', '0-' .. string.format('%.0f', through + 1))
