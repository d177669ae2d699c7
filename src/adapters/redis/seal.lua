#!lua flags=allow-oom
-- Takes a shard from its owner, if there is none or it can be overtaken as in claim.lua, and closes it to all but one move.
--
-- KEYS
--   1  meta   hash; `sealed`: the move that has sealed it, a space, and why. `over`: the last one that has let go of it
-- ARGV
--   1  the move
--   2  why
--   3  the holder as seen before, or ''
--   4  its counter then, or ''
--   5  a move that has ended and left it sealed, or ''
-- Returns
--   {'sealed', number, position, tail, clock, clean ('1' or '0')}
--   {'held', node, counter}
--   {'over', the move that has it, or ''}

local META = KEYS[1]
local stored = redis.call('HMGET', META, 'owner', 'beat', 'epoch', 'number', 'position', 'seq', 'clock', 'clean', 'sealed', 'over')
local owner, beat, sealed = stored[1], stored[2] or '0', stored[9]
local by = sealed and string.match(sealed, '^%S+')
if stored[10] == ARGV[1] or (sealed and by ~= ARGV[1] and by ~= ARGV[5]) then return { 'over', by or '' } end
if by ~= ARGV[1] then
  if owner and not (owner == ARGV[3] and beat == ARGV[4]) then return { 'held', owner, beat } end
  redis.call('HDEL', META, 'owner', 'imported')
  redis.call('HSET', META, 'epoch', string.format('%.0f', (tonumber(stored[3]) or 0) + 1), 'sealed', ARGV[1] .. ' ' .. ARGV[2])
end
return { 'sealed', stored[4] or '0', stored[5] or '0', stored[6] or '0', stored[7] or '0', stored[8] or '1' }
