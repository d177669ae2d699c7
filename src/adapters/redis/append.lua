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

local stored = redis.call('HMGET', META, 'seq', 'clock', 'sealed')
if stored[3] then return sealedReply(stored[3]) end
local now = serverTime()
local at = plain(now)
if stored[2] and tonumber(stored[2]) > now then
  now, at = tonumber(stored[2]), stored[2]
end

local addresses, ids, listed = {}, {}, {}
for i = 4, #ARGV, 4 do
  local to = ARGV[i + 1]
  if not isTerm(ARGV[i + 2]) then
    return redis.error_reply('ERR message ' .. ARGV[i] .. ' is to be remembered until ' .. ARGV[i + 2])
  end
  ids[#ids + 1] = ARGV[i]
  if not listed[to] then
    listed[to] = true
    addresses[#addresses + 1] = to
  end
end
openMailbox(tonumber(stored[1]) or 0, addresses)

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
