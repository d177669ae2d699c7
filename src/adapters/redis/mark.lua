#!lua flags=allow-oom
-- Marks a namespace as one side of a move, or takes the mark away. Allowed when memory is full: a move may be what helps.
--
-- KEYS
--   1  state       hash, see beat.lua; `mark`: the mark, `move`: its state and id
--   2  namespace   hash
-- ARGV
--   1  state and id of the mark that is expected, or ''
--   2  state and id of the next one, or '' to take it away
--   3  the next one
--   4  how often the namespace was accepted, at least
--   5  the incarnation that it has from now on, or ''
--   6  channel that tells of it
-- Returns
--   1, or 0 if another mark stands there

local STATE = KEYS[1]
if (redis.call('HGET', STATE, 'move') or '') ~= ARGV[1] then return 0 end
-- First, because a user may lack the right to a channel.
redis.call('PUBLISH', ARGV[6], '')
local accepted = tonumber(redis.call('HGET', STATE, 'accepted')) or 0
if ARGV[2] == '' then
  redis.call('HDEL', STATE, 'move', 'mark')
  accepted = accepted + 1
else
  redis.call('HSET', STATE, 'move', ARGV[2], 'mark', ARGV[3])
end
if tonumber(ARGV[4]) > accepted then accepted = tonumber(ARGV[4]) end
redis.call('HSET', STATE, 'accepted', string.format('%.0f', accepted))
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'incarnation', ARGV[5]) end
return 1
