#!lua
-- Takes dead letters of this shard back into its log, each out of the stream and into the log in one. Anybody may call it.
--
-- KEYS
--   1-5  the mailbox, see mailbox.lua
-- ARGV
--   1-3  the mailbox, see mailbox.lua
--   4…   for each letter: its number in the stream of dead letters, then id, address, term, text of the message
-- Returns
--   for each letter 'redriven', 'gone' or 'full'; error SEALED if a move has closed the shard
--@include mailbox

local stored = redis.call('HMGET', META, 'seq', 'clock', 'sealed')
if stored[3] then return sealedReply(stored[3]) end
local now = serverTime()
local at = plain(now)
if stored[2] and tonumber(stored[2]) > now then at = stored[2] end

local addresses, listed = {}, {}
for i = 4, #ARGV, 5 do
  if not finite(ARGV[i]) or not isTerm(ARGV[i + 3]) then
    return redis.error_reply('ERR dead letter ' .. ARGV[i] .. ' is to be remembered until ' .. ARGV[i + 3])
  end
  local to = ARGV[i + 2]
  if not listed[to] then
    listed[to] = true
    addresses[#addresses + 1] = to
  end
end
openMailbox(tonumber(stored[1]) or 0, addresses)
redis.call('XLEN', DEAD)

local before = tail
local redriven = {}
for i = 4, #ARGV, 5 do
  local letter, to = '0-' .. ARGV[i], ARGV[i + 2]
  if #redis.call('XRANGE', DEAD, letter, letter) == 0 then
    redriven[#redriven + 1] = 'gone'
  elseif not hasRoom(to, false) then
    redriven[#redriven + 1] = 'full'
  else
    redis.call('XDEL', DEAD, letter)
    local until_ = termOf(ARGV[i + 3])
    push(at, ARGV[i + 1], to, until_, ARGV[i + 4])
    redriven[#redriven + 1] = 'redriven'
  end
end

if tail > before then redis.call('HSET', META, 'seq', plain(tail)) end
closeMailbox()
return redriven
