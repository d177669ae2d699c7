#!lua
-- Appends messages to the log of a shard, in the order given. Anybody may call it.
--
-- KEYS
--   1-5  the mailbox, see mailbox.lua
-- ARGV
--   1-3  the mailbox, see mailbox.lua
--   4…   for each message: id, address, term, text
-- Returns
--   for each message its sequence number, or 'duplicate', or 'full'; error SEALED if a move has closed the shard
--@include mailbox

local now, at = openForMessages(4, 4)
if not now then return at end

local ids = {}
for i = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local knownUntil = {}
for from = 1, #ids, CHUNK do
  local last = math.min(from + CHUNK - 1, #ids)
  local scores = redis.call('ZMSCORE', IDS, unpack(ids, from, last))
  for i = from, last do knownUntil[ids[i]] = tonumber(scores[i - from + 1]) end
end

local before = tail
local appended = {}
for i = 4, #ARGV, 4 do
  local id, to = ARGV[i], ARGV[i + 1]
  local until_, always = termOf(ARGV[i + 2])
  if (knownUntil[id] or 0) > now then
    appended[#appended + 1] = 'duplicate'
  elseif not hasRoom(to, always) then
    appended[#appended + 1] = 'full'
  else
    push(at, id, to, until_, ARGV[i + 3])
    if until_ ~= '' then knownUntil[id] = tonumber(until_) end
    appended[#appended + 1] = tail
  end
end

if tail > before then redis.call('HSET', META, 'seq', plain(tail)) end
closeMailbox()
sweep(IDS, now, #ids + 64)
return appended
