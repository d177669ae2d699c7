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

local now, at = openForMessages(4, 5)
if not now then return at end

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
