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
--   11    time of the entry at the position, as it was read, or ''
--   12    what its text begins with
--   13    the changes, a MessagePack array of strings: one argument is read and written more quickly than thousands.
--         In their order, each a word that `checked` knows with its arguments; a key is named by its place in KEYS
-- Returns
--   {'ok', namespace time, tail}                 written now, or by an earlier call; a fourth, 'appended', if now and all
--                                                messages stand in the log as they are
--   {'fenced', epoch} or {'gap', last number}    nothing was written
--   {'unread'}                                   nothing was written: another entry than was read stands at the position
--   {'refused', address or '', detail}           nothing was written
--@include mailbox

local REPLIES, REPLY_EXPIRY = KEYS[10], KEYS[11]
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
local CHANGES = cmsgpack.unpack(ARGV[13])

-- Whether a key is absent or of the type that the command counts. pcall, so that the answer can name the record.
local function fits(size, key)
  return type(redis.pcall(size, key)) == 'number'
end

-- A key of the whole shard, before anything writes to it: one that nothing touches need not be looked at.
local looked = {}
local function mustFit(size, key)
  if looked[key] then return end
  if not fits(size, key) then error(redis.error_reply('WRONGTYPE ' .. key)) end
  looked[key] = true
end

-- The whole number that a text stands for, or nil.
local function count(text)
  local number = finite(text)
  if number and number >= 0 and number == math.floor(number) then return number end
  return nil
end

local address = ''
local termsKey, termsOfKey
local addresses, listed, hasEntries = {}, {}, false

local function willTouch(to)
  if not listed[to] then
    listed[to] = true
    addresses[#addresses + 1] = to
  end
end

-- The change at place i, whose word is given. Returns the place after its last argument, or nil and what is wrong. The
-- words of each turn come first: a chain costs less than a table of functions, which is made anew at each call.
local function checked(word, i)
  if word == 'part' then
    -- address
    address = CHANGES[i]
    return i + 1
  elseif word == 'hset' or word == 'hdel' then
    -- key of the hash, length, name, value, …; or name, …
    local key, n = KEYS[tonumber(CHANGES[i])], count(CHANGES[i + 1])
    if not key or not n then return nil, 'a list has no key or no length' end
    if not fits('HLEN', key) then return nil, 'the key ' .. key .. ' holds another type' end
    return i + 2 + n
  elseif word == 'zadd' then
    -- key of the sorted set, length, score, member, …
    local key, n = KEYS[tonumber(CHANGES[i])], count(CHANGES[i + 1])
    if not key or not n then return nil, 'a list has no key or no length' end
    for k = i + 2, i + 1 + n, 2 do
      if not finite(CHANGES[k]) then return nil, CHANGES[k + 1] .. ' has the time ' .. CHANGES[k] end
    end
    mustFit('ZCARD', key)
    return i + 2 + n
  elseif word == 'zrem' then
    -- key of the sorted set, length, member, …
    local key, n = KEYS[tonumber(CHANGES[i])], count(CHANGES[i + 1])
    if not key or not n then return nil, 'a list has no key or no length' end
    mustFit('ZCARD', key)
    return i + 2 + n
  elseif word == 'handled' then
    -- how many messages
    if not count(CHANGES[i]) then return nil, 'handled is ' .. CHANGES[i] end
    willTouch(address)
    return i + 1
  elseif word == 'entry' then
    -- id, address, term, text
    if not isTerm(CHANGES[i + 2]) then return nil, 'a message is remembered until ' .. CHANGES[i + 2] end
    hasEntries = true
    willTouch(CHANGES[i + 1])
    return i + 4
  elseif word == 'outbox' then
    -- key of the outbox, target shard, length, number, entry, …
    if not fits('ZCARD', KEYS[tonumber(CHANGES[i])]) then return nil, 'the outbox to shard ' .. CHANGES[i + 1] .. ' holds another type' end
    local last = i + 2 + tonumber(CHANGES[i + 2])
    for k = i + 3, last, 2 do
      if not finite(CHANGES[k]) then return nil, 'an outbox entry has the number ' .. CHANGES[k] end
    end
    mustFit('SCARD', OUTBOXES)
    return last + 1
  elseif word == 'delivered' then
    -- key of the outbox, target shard, number up to which it was delivered
    if not finite(CHANGES[i + 2]) then return nil, 'delivered through ' .. CHANGES[i + 2] end
    if not fits('ZCARD', KEYS[tonumber(CHANGES[i])]) then return nil, 'the outbox to shard ' .. CHANGES[i + 1] .. ' holds another type' end
    mustFit('SCARD', OUTBOXES)
    return i + 3
  elseif word == 'log' then
    -- key of the stream, its name, '=' or '~', most entries, text
    if not fits('XLEN', KEYS[tonumber(CHANGES[i])]) then return nil, 'the stream ' .. CHANGES[i + 1] .. ' holds another type' end
    if not count(CHANGES[i + 3]) then return nil, 'a stream keeps ' .. CHANGES[i + 3] .. ' entries' end
    mustFit('ZCARD', STREAMS)
    return i + 5
  elseif word == 'index' then
    -- keys of terms and terms-of; before the first change of what an actor is found by
    termsKey, termsOfKey = KEYS[tonumber(CHANGES[i])], KEYS[tonumber(CHANGES[i + 1])]
    if not fits('ZCARD', termsKey) or not fits('HLEN', termsOfKey) then return nil, 'the index holds another type' end
    return i + 2
  elseif word == 'terms' then
    -- the terms, a line break between two
    if not termsKey then return nil, 'terms are written and no index named' end
    return i + 1
  elseif word == 'create' then
    -- the address as it stands in index-by-key
    mustFit('ZCARD', INDEX)
    mustFit('ZCARD', INDEX_BY_KEY)
    return i + 1
  elseif word == 'erase' then
    -- the address as it stands in index-by-key, key of the record, key of its parked messages
    if not termsKey then return nil, 'a record is erased and no index named' end
    mustFit('ZCARD', INDEX)
    mustFit('ZCARD', INDEX_BY_KEY)
    mustFit('SCARD', PARKED)
    mustFit('ZCARD', STREAMS)
    return i + 3
  elseif word == 'park' then
    -- key of the list, how many come off its front, length, text, …
    if not count(CHANGES[i + 1]) then return nil, 'unpark is ' .. CHANGES[i + 1] end
    if not fits('LLEN', KEYS[tonumber(CHANGES[i])]) then return nil, 'the parked messages hold another type' end
    mustFit('SCARD', PARKED)
    return i + 3 + tonumber(CHANGES[i + 2])
  elseif word == 'accepted' then
    -- length, until when an id is remembered, id, …
    local n = count(CHANGES[i])
    if not n then return nil, 'a list has no length' end
    for k = i + 1, i + n, 2 do
      if not finite(CHANGES[k]) then return nil, CHANGES[k + 1] .. ' has the time ' .. CHANGES[k] end
    end
    mustFit('ZCARD', IDS)
    return i + 1 + n
  end
  return nil, 'there is no change ' .. word
end

local i = 1
while i <= #CHANGES do
  local after, detail = checked(CHANGES[i], i + 1)
  if not after then return { 'refused', address, detail } end
  i = after
end

local isTrimming = position > (tonumber(stored[3]) or 0)
if isTrimming then
  mustFit('XLEN', LOG)
  -- After the server went back in time another entry may have the number of one that was read.
  if ARGV[11] ~= '' then
    local id = plain(position) .. '-0'
    local entry = redis.call('XRANGE', LOG, id, id)[1]
    local of = {}
    if entry then
      for k = 1, #entry[2], 2 do of[entry[2][k]] = entry[2][k + 1] end
    end
    if tonumber(of.a) ~= tonumber(ARGV[11]) or string.sub(of.t or '', 1, #ARGV[12]) ~= ARGV[12] then return { 'unread' } end
  end
end
tail = tonumber(seq)
if #addresses > 0 then openMailbox(tail, addresses) end
-- What remembers something forgets what is over; so does now and then a commit that does not.
local isSweeping = hasEntries or looked[IDS] or looked[REPLY_EXPIRY] or next % 16 == 0
if isSweeping then
  mustFit('ZCARD', IDS)
  mustFit('ZCARD', REPLY_EXPIRY)
  mustFit('HLEN', REPLIES)
end
if hasEntries then mustFit('XLEN', DEAD) end
-- An entry above the counter would make XADD fail after other writes; so would one of a counter that is lost, later.
if hasEntries or not stored[4] then
  mustFit('XLEN', LOG)
  if #redis.call('XRANGE', LOG, '(' .. plain(tail), '+', 'COUNT', 1) > 0 then
    return redis.error_reply('ERR the log ' .. LOG .. ' is ahead of its counter ' .. seq)
  end
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

-- Of what a commit accepted the ids, which win over those of messages.
local accepted = {}

-- As `checked`; returns the place after.
local function applied(word, i)
  if word == 'part' then
    address = CHANGES[i]
    return i + 1
  elseif word == 'hset' or word == 'hdel' or word == 'zadd' or word == 'zrem' then
    local last = i + 1 + tonumber(CHANGES[i + 1])
    each(word, KEYS[tonumber(CHANGES[i])], CHANGES, i + 2, last)
    return last + 1
  elseif word == 'handled' then
    counts[address] = math.max(0, counts[address] - tonumber(CHANGES[i]))
    moved[address] = true
    return i + 1
  elseif word == 'entry' then
    take(nowText, CHANGES[i], CHANGES[i + 1], CHANGES[i + 2], CHANGES[i + 3])
    return i + 4
  elseif word == 'outbox' then
    local last = i + 2 + tonumber(CHANGES[i + 2])
    each('ZADD', KEYS[tonumber(CHANGES[i])], CHANGES, i + 3, last)
    redis.call('SADD', OUTBOXES, CHANGES[i + 1])
    return last + 1
  elseif word == 'delivered' then
    local key = KEYS[tonumber(CHANGES[i])]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', CHANGES[i + 2])
    if isEmpty(key) then redis.call('SREM', OUTBOXES, CHANGES[i + 1]) end
    return i + 3
  elseif word == 'log' then
    local id = redis.call('XADD', KEYS[tonumber(CHANGES[i])], 'MAXLEN', CHANGES[i + 2], CHANGES[i + 3], '0-*', 't', CHANGES[i + 4])
    if id == '0-1' then redis.call('ZADD', STREAMS, '0', CHANGES[i + 1]) end
    return i + 5
  elseif word == 'index' then
    return i + 2
  elseif word == 'terms' then
    setTerms(CHANGES[i])
    return i + 1
  elseif word == 'create' then
    redis.call('ZADD', INDEX, '0', address)
    redis.call('ZADD', INDEX_BY_KEY, '0', CHANGES[i])
    return i + 1
  elseif word == 'erase' then
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
  elseif word == 'park' then
    local key, last = KEYS[tonumber(CHANGES[i])], i + 2 + tonumber(CHANGES[i + 2])
    if tonumber(CHANGES[i + 1]) > 0 then redis.call('LTRIM', key, CHANGES[i + 1], -1) end
    each('RPUSH', key, CHANGES, i + 3, last)
    redis.call(isEmpty(key) and 'SREM' or 'SADD', PARKED, address)
    return last + 1
  end
  -- accepted
  local last = i + tonumber(CHANGES[i])
  for k = i + 1, last do accepted[#accepted + 1] = CHANGES[k] end
  return last + 1
end

i = 1
while i <= #CHANGES do i = applied(CHANGES[i], i + 1) end
if termsKey then writeTerms() end
closeMailbox()
each('ZADD', IDS, accepted, 1, #accepted)
if isTrimming then redis.call('XTRIM', LOG, 'MINID', plain(position + 1)) end

if isSweeping then
  sweep(IDS, now, 1000 + #remembered)
  local forgotten = sweep(REPLY_EXPIRY, now, 1000)
  each('HDEL', REPLIES, forgotten, 1, #forgotten)
end

redis.call('HSET', META,
  'number', ARGV[6], 'position', ARGV[7], 'seq', plain(tail), 'clock', nowText, 'beat', plain((tonumber(stored[6]) or 0) + 1))
return { 'ok', nowText, plain(tail), not overflown and 'appended' or nil }
