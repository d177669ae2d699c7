#!lua
-- Appends entries of another shard's outbox to the log of this shard, dropping those delivered before. One that finds
-- no room is kept as a dead letter.
--
-- KEYS
--   1-5  the mailbox, see mailbox.lua
--   6    delivered   hash of the highest number seen of each source shard
-- ARGV
--   1-3  the mailbox, see mailbox.lua
--   4    the source shard
--   5…   for each entry: number, id, address, term, text
-- Returns
--   how many were not delivered before; error SEALED if a move has closed the shard
--@include mailbox

local DELIVERED = KEYS[6]
local from = ARGV[4]
local now, at = openForMessages(5, 5)
if not now then return at end
local highest = tonumber(redis.call('HGET', DELIVERED, from)) or 0

local before, taken = tail, 0
for i = 5, #ARGV, 5 do
  local number = tonumber(ARGV[i])
  if number > highest then
    highest = number
    taken = taken + 1
    take(at, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  end
end

if taken > 0 then redis.call('HSET', DELIVERED, from, plain(highest)) end
if tail > before then redis.call('HSET', META, 'seq', plain(tail)) end
closeMailbox()
sweep(IDS, now, taken + 64)
return taken
