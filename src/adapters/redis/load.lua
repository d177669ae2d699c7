#!lua flags=no-writes
-- Reads records. One answer of bytes costs whoever asks a fifth of what the answers to as many HGETALL do.
--
-- KEYS
--   1…n    keys of the records       hash
--   n+1…   their parked messages     list, in the same order
-- ARGV
--   1  once the records read so far hold more bytes, no further one is read: other commands wait for this one
-- Returns
--   a MessagePack array with an array for each record that was read, from the first on and at least one: names and values
--   by turns, and at the end how many messages are parked

local bytesMax = tonumber(ARGV[1])
local count = #KEYS / 2
local records, bytes = {}, 0
for i = 1, count do
  local record = redis.call('HGETALL', KEYS[i])
  for _, text in ipairs(record) do bytes = bytes + #text end
  record[#record + 1] = redis.call('LLEN', KEYS[count + i])
  records[i] = record
  if bytes > bytesMax then break end
end
return cmsgpack.pack(records)
