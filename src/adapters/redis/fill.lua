#!lua
-- Writes to a shard that a move has sealed: a page of what arrives, or the removal of some of what is there.
--
-- KEYS
--   1   meta   hash, see seal.lua; `imported`: where the pages that were taken end
--   2…  the keys of the commands
-- ARGV
--   1   the move
--   2   where the page begins; '*' for a removal, whatever was taken
--   3   where it ends
--   4…  the commands, each its name, the place of its key in KEYS, how many arguments follow, and these. EPOCH, with a
--       number, raises the epoch to it; LINES, with sequence numbers and texts, fills a stream below its last number
-- Returns
--   {'at', where the pages that were taken end}
--   {'over', the move that has the shard, or ''}

local META = KEYS[1]
local stored = redis.call('HMGET', META, 'sealed', 'imported', 'epoch')
local by = stored[1] and string.match(stored[1], '^%S+') or ''
if by ~= ARGV[1] then return { 'over', by } end
local at = stored[2] or ''
if ARGV[2] ~= '*' and ARGV[2] ~= at then return { 'at', at } end

local function lastOf(stream)
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

-- XADD writes above the last number alone.
local function fillStream(stream, first, last)
  local tail = lastOf(stream)
  redis.call('XSETID', stream, '0-' .. string.format('%.0f', tonumber(ARGV[first]) - 1))
  for i = first, last, 2 do redis.call('XADD', stream, '0-' .. ARGV[i], 't', ARGV[i + 1]) end
  redis.call('XSETID', stream, tail)
end

local i = 4
while i <= #ARGV do
  local last = i + 2 + tonumber(ARGV[i + 2])
  if ARGV[i] == 'EPOCH' then
    if tonumber(ARGV[last]) > (tonumber(stored[3]) or 0) then redis.call('HSET', META, 'epoch', ARGV[last]) end
  elseif ARGV[i] == 'LINES' then
    fillStream(KEYS[tonumber(ARGV[i + 1])], i + 3, last)
  else
    redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], unpack(ARGV, i + 3, last))
  end
  i = last + 1
end
-- Last: a page that was torn is not taken for whole, and verification would find it.
redis.call('HSET', META, 'imported', ARGV[3])
return { 'at', ARGV[3] }
