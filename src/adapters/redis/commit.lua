#!lua
-- Writes the turns of one batch: whole or not at all. Redis does not roll back, so the first half of this script only
-- looks: fence, number, the type of every key and every value that could make a command fail. Without the flag
-- allow-oom a server whose memory is full refuses the script before its first line.
--
-- KEYS
--   1-5   the mailbox, see mailbox.lua
--   6     timers          zset
--   7     effects         hash
--   8     actions         hash
--   9     suspects        hash
--   10    replies         hash
--   11    reply-expiry    zset
--   12    outboxes        set
--   13    parked          set
--   14    index           zset
--   15    index-by-key    zset
--   16    streams         zset
--   17…   keys of records, parked messages, streams, outboxes and terms; the changes name them by their place in KEYS
-- ARGV
--   1-3   the mailbox, see mailbox.lua
--   4-5   epoch and node of the lease: of a server that went back in time the same epoch may be given twice
--   6     number of the commit
--   7     position: the log is trimmed up to it
--   8     namespace time of the runtime, ms
--   9     channel that tells of the commit
--   10    what a stream's key begins with, to remove those of an erased record
--   11    the changes, a MessagePack array of strings: one argument is read and written more quickly than thousands.
--         First the folded ones, as many lists as FOLDED names, each after its length; then to the end those of single
--         keys in their order, each a word of CHECK with its arguments
-- Returns
--   {'ok', namespace time, tail}                 written now, or by an earlier call; a fourth, 'appended', if now and all
--                                                messages stand in the log as they are
--   {'fenced', epoch} or {'gap', last number}    nothing was written
--   {'refused', address or '', detail}           nothing was written
--@include mailbox

local FOLDED = {
  { 'ZADD', KEYS[6] }, { 'ZREM', KEYS[6] },
  { 'HSET', KEYS[7] }, { 'HDEL', KEYS[7] },
  { 'HSET', KEYS[8] }, { 'HDEL', KEYS[8] },
  { 'HSET', KEYS[9] }, { 'HDEL', KEYS[9] },
  { 'HSET', KEYS[10] }, { 'ZADD', KEYS[11] },
  { 'ZADD', IDS },
}
local SIZES = {
  XLEN = { LOG, DEAD },
  HLEN = { BACKLOG, KEYS[7], KEYS[8], KEYS[9], KEYS[10] },
  ZCARD = { IDS, KEYS[6], KEYS[11], KEYS[14], KEYS[15], KEYS[16] },
  SCARD = { KEYS[12], KEYS[13] },
}
local OUTBOXES, PARKED, INDEX, INDEX_BY_KEY, STREAMS = KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16]

-- ── Look ──

local stored = redis.call('HMGET', META, 'epoch', 'number', 'position', 'seq', 'clock', 'beat', 'owner')
local epoch, number = tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
local seq, clock = stored[4] or '0', stored[5] or '0'
if tonumber(ARGV[4]) ~= epoch or ARGV[5] ~= stored[7] then return { 'fenced', stored[1] or '0' } end
local next = finite(ARGV[6])
if not next then return { 'refused', '', 'the number is ' .. ARGV[6] } end
if next <= number then return { 'ok', clock, seq } end
if next ~= number + 1 then return { 'gap', plain(number) } end
local position, at = finite(ARGV[7]), finite(ARGV[8])
if position and position > tonumber(seq) then return { 'gap', plain(number) } end
if not position or not at then return { 'refused', '', 'position or time is not a finite number' } end
local CHANGES = cmsgpack.unpack(ARGV[11])

-- Whether a key is absent or of the type that the command counts. pcall, so that the answer can name the record.
local function fits(size, key)
  return type(redis.pcall(size, key)) == 'number'
end

for size, keys in pairs(SIZES) do
  for _, key in ipairs(keys) do
    if not fits(size, key) then return redis.error_reply('WRONGTYPE ' .. key) end
  end
end

-- The whole number that a text stands for, or nil.
local function count(text)
  local number = finite(text)
  if number and number >= 0 and number == math.floor(number) then return number end
  return nil
end

local address = ''
local termsKey, termsOfKey
local addresses, listed = {}, {}

local function willTouch(to)
  if not listed[to] then
    listed[to] = true
    addresses[#addresses + 1] = to
  end
end

-- Each takes the place of its first argument and returns the place after its last, or nil and what is wrong.
local function listOf(i, size)
  local key, n = KEYS[tonumber(CHANGES[i])], count(CHANGES[i + 1])
  if not key or not n then return nil, 'a list has no key or no length' end
  if not fits(size, key) then return nil, 'the key ' .. key .. ' holds another type' end
  return i + 2 + n
end

local CHECK = {
  -- address
  part = function(i)
    address = CHANGES[i]
    return i + 1
  end,
  -- key of the record, length, name, value, …
  set = function(i) return listOf(i, 'HLEN') end,
  -- key of the record, length, name, …
  unset = function(i) return listOf(i, 'HLEN') end,
  -- the address as it stands in index-by-key
  create = function(i) return i + 1 end,
  -- the address as it stands in index-by-key, key of the record, key of its parked messages
  erase = function(i)
    if not termsKey then return nil, 'a record is erased and no index named' end
    return i + 3
  end,
  -- the terms, a line break between two
  terms = function(i)
    if not termsKey then return nil, 'terms are written and no index named' end
    return i + 1
  end,
  -- keys of terms and terms-of; before the first change of what an actor is found by
  index = function(i)
    termsKey, termsOfKey = KEYS[tonumber(CHANGES[i])], KEYS[tonumber(CHANGES[i + 1])]
    if not fits('ZCARD', termsKey) or not fits('HLEN', termsOfKey) then return nil, 'the index holds another type' end
    return i + 2
  end,
  -- how many messages
  handled = function(i)
    if not count(CHANGES[i]) then return nil, 'handled is ' .. CHANGES[i] end
    willTouch(address)
    return i + 1
  end,
  -- id, address, term, text
  entry = function(i)
    if not isTerm(CHANGES[i + 2]) then return nil, 'a message is remembered until ' .. CHANGES[i + 2] end
    willTouch(CHANGES[i + 1])
    return i + 4
  end,
  -- key of the stream, its name, '=' or '~', most entries, text
  log = function(i)
    if not fits('XLEN', KEYS[tonumber(CHANGES[i])]) then return nil, 'the stream ' .. CHANGES[i + 1] .. ' holds another type' end
    if not count(CHANGES[i + 3]) then return nil, 'a stream keeps ' .. CHANGES[i + 3] .. ' entries' end
    return i + 5
  end,
  -- key of the list, how many come off its front, length, text, …
  park = function(i)
    if not count(CHANGES[i + 1]) then return nil, 'unpark is ' .. CHANGES[i + 1] end
    if not fits('LLEN', KEYS[tonumber(CHANGES[i])]) then return nil, 'the parked messages hold another type' end
    return i + 3 + tonumber(CHANGES[i + 2])
  end,
  -- key of the outbox, target shard, length, number, entry, …
  outbox = function(i)
    if not fits('ZCARD', KEYS[tonumber(CHANGES[i])]) then return nil, 'the outbox to shard ' .. CHANGES[i + 1] .. ' holds another type' end
    local last = i + 2 + tonumber(CHANGES[i + 2])
    for k = i + 3, last, 2 do
      if not finite(CHANGES[k]) then return nil, 'an outbox entry has the number ' .. CHANGES[k] end
    end
    return last + 1
  end,
  -- key of the outbox, target shard, number up to which it was delivered
  delivered = function(i)
    if not finite(CHANGES[i + 2]) then return nil, 'delivered through ' .. CHANGES[i + 2] end
    if not fits('ZCARD', KEYS[tonumber(CHANGES[i])]) then return nil, 'the outbox to shard ' .. CHANGES[i + 1] .. ' holds another type' end
    return i + 3
  end,
}

local i = 1
for _, change in ipairs(FOLDED) do
  local n = tonumber(CHANGES[i])
  if change[1] == 'ZADD' then
    for k = i + 1, i + n, 2 do
      if not finite(CHANGES[k]) then return { 'refused', '', CHANGES[k + 1] .. ' has the time ' .. CHANGES[k] } end
    end
  end
  i = i + n + 1
end
local changes = i
while i <= #CHANGES do
  local check = CHECK[CHANGES[i]]
  if not check then return { 'refused', address, 'there is no change ' .. CHANGES[i] } end
  local after, detail = check(i + 1)
  if not after then return { 'refused', address, detail } end
  i = after
end

openMailbox(tonumber(seq), addresses)
-- An entry above the counter would make XADD fail after other writes.
if #redis.call('XRANGE', LOG, '(' .. plain(tail), '+', 'COUNT', 1) > 0 then
  return redis.error_reply('ERR the log ' .. LOG .. ' is ahead of its counter ' .. seq)
end

-- ── Write ──

-- First, because a user may lack the right to a channel.
redis.call('PUBLISH', ARGV[9], plain(next))

local server = serverTime()
local now, nowText = tonumber(clock), clock
if at > now then now, nowText = at, ARGV[8] end
if server > now then now, nowText = server, plain(server) end

local function isEmpty(key)
  return redis.call('EXISTS', key) == 0
end

-- By address what each actor is found by from now on, the last word of the commit, and the addresses in their order.
local terms, found = {}, {}

local function setTerms(text)
  if not terms[address] then found[#found + 1] = address end
  terms[address] = text
end

-- Only what differs from before is written, for all actors of the commit together.
local function writeTerms()
  local gone, new, kept, none = {}, {}, {}, {}
  for from = 1, #found, CHUNK do
    local last = math.min(from + CHUNK - 1, #found)
    local before = redis.call('HMGET', termsOfKey, unpack(found, from, last))
    for i = from, last do
      local to, text = '\n' .. found[i], terms[found[i]]
      local old = before[i - from + 1] or ''
      if old ~= text then
        local stays = {}
        for term in string.gmatch(text, '[^\n]+') do stays[term] = true end
        for term in string.gmatch(old, '[^\n]+') do
          if stays[term] then stays[term] = nil else gone[#gone + 1] = term .. to end
        end
        for term in pairs(stays) do
          new[#new + 1] = '0'
          new[#new + 1] = term .. to
        end
        if text == '' then
          none[#none + 1] = found[i]
        else
          kept[#kept + 1] = found[i]
          kept[#kept + 1] = text
        end
      end
    end
  end
  each('ZREM', termsKey, gone, 1, #gone)
  each('ZADD', termsKey, new, 1, #new)
  each('HSET', termsOfKey, kept, 1, #kept)
  each('HDEL', termsOfKey, none, 1, #none)
end

local APPLY = {
  part = function(i)
    address = CHANGES[i]
    return i + 1
  end,
  set = function(i)
    local last = i + 1 + tonumber(CHANGES[i + 1])
    each('HSET', KEYS[tonumber(CHANGES[i])], CHANGES, i + 2, last)
    return last + 1
  end,
  unset = function(i)
    local last = i + 1 + tonumber(CHANGES[i + 1])
    each('HDEL', KEYS[tonumber(CHANGES[i])], CHANGES, i + 2, last)
    return last + 1
  end,
  create = function(i)
    redis.call('ZADD', INDEX, '0', address)
    redis.call('ZADD', INDEX_BY_KEY, '0', CHANGES[i])
    return i + 1
  end,
  erase = function(i)
    redis.call('UNLINK', KEYS[tonumber(CHANGES[i + 1])], KEYS[tonumber(CHANGES[i + 2])])
    redis.call('SREM', PARKED, address)
    redis.call('ZREM', INDEX, address)
    redis.call('ZREM', INDEX_BY_KEY, CHANGES[i])
    setTerms('')
    -- '0' is the character after '/'. These keys stand in no argument, but in the slot of those that do.
    local own = redis.call('ZRANGEBYLEX', STREAMS, '[' .. address .. '/', '(' .. address .. '0')
    for _, name in ipairs(own) do redis.call('UNLINK', ARGV[10] .. name) end
    each('ZREM', STREAMS, own, 1, #own)
    return i + 3
  end,
  terms = function(i)
    setTerms(CHANGES[i])
    return i + 1
  end,
  index = function(i) return i + 2 end,
  handled = function(i)
    counts[address] = math.max(0, counts[address] - tonumber(CHANGES[i]))
    moved[address] = true
    return i + 1
  end,
  entry = function(i)
    take(nowText, CHANGES[i], CHANGES[i + 1], CHANGES[i + 2], CHANGES[i + 3])
    return i + 4
  end,
  log = function(i)
    local id = redis.call('XADD', KEYS[tonumber(CHANGES[i])], 'MAXLEN', CHANGES[i + 2], CHANGES[i + 3], '0-*', 't', CHANGES[i + 4])
    if id == '0-1' then redis.call('ZADD', STREAMS, '0', CHANGES[i + 1]) end
    return i + 5
  end,
  park = function(i)
    local key, last = KEYS[tonumber(CHANGES[i])], i + 2 + tonumber(CHANGES[i + 2])
    if tonumber(CHANGES[i + 1]) > 0 then redis.call('LTRIM', key, CHANGES[i + 1], -1) end
    each('RPUSH', key, CHANGES, i + 3, last)
    redis.call(isEmpty(key) and 'SREM' or 'SADD', PARKED, address)
    return last + 1
  end,
  outbox = function(i)
    local last = i + 2 + tonumber(CHANGES[i + 2])
    each('ZADD', KEYS[tonumber(CHANGES[i])], CHANGES, i + 3, last)
    redis.call('SADD', OUTBOXES, CHANGES[i + 1])
    return last + 1
  end,
  delivered = function(i)
    local key = KEYS[tonumber(CHANGES[i])]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', CHANGES[i + 2])
    if isEmpty(key) then redis.call('SREM', OUTBOXES, CHANGES[i + 1]) end
    return i + 3
  end,
}

i = changes
while i <= #CHANGES do i = APPLY[CHANGES[i]](i + 1) end
if termsKey then writeTerms() end
-- Before the folded changes, whose ids are to win over those of messages.
closeMailbox()
i = 1
for _, change in ipairs(FOLDED) do
  local n = tonumber(CHANGES[i])
  each(change[1], change[2], CHANGES, i + 1, i + n)
  i = i + n + 1
end
if position > (tonumber(stored[3]) or 0) then redis.call('XTRIM', LOG, 'MINID', plain(position + 1)) end

sweep(IDS, now, 1000 + #remembered)
local forgotten = sweep(KEYS[11], now, 1000)
each('HDEL', KEYS[10], forgotten, 1, #forgotten)

redis.call('HSET', META,
  'number', ARGV[6], 'position', ARGV[7], 'seq', plain(tail), 'clock', nowText, 'beat', plain((tonumber(stored[6]) or 0) + 1))
return { 'ok', nowText, plain(tail), not overflown and 'appended' or nil }
