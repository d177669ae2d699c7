-- The mailbox of a shard, as append, commit, deliver and redrive write to it. Not a script: it takes the place of the line
-- "--@include mailbox" in those four, which therefore begin alike:
--
-- KEYS
--   1  meta       hash
--   2  log        stream
--   3  ids        zset
--   4  backlog    hash
--   5  dead       stream of the messages for which there was no room
-- ARGV
--   1  most unhandled messages of one actor, inclusive
--   2  most unhandled messages of the shard, inclusive
--   3  about how many dead letters are kept
--
-- openMailbox reads every key before the first write, so that one of a wrong type fails a script that has written
-- nothing; closeMailbox writes the counters that push has moved.

local META, LOG, IDS, BACKLOG, DEAD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local backlogMax, logMax, deadMax = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

-- Lua passes about 8,000 arguments to one call; even, so that no pair is torn apart.
local CHUNK = 4000

-- The number that a text stands for, or nil: Lua reads "nan" and "inf", Redis fails on the first and keeps the second.
local function finite(text)
  local number = tonumber(text)
  if number and number == number and number > -math.huge and number < math.huge then return number end
  return nil
end

-- Lua's own formatting turns 1e15 into "1e+15", which is no stream id.
local function plain(number)
  return string.format('%.0f', number)
end

local function each(command, key, values, first, last)
  for from = first, last, CHUNK do
    redis.call(command, key, unpack(values, from, math.min(from + CHUNK - 1, last)))
  end
end

local function serverTime()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The answer of a shard that a move has closed; see seal.lua.
local function sealedReply(sealed)
  return redis.error_reply('SEALED ' .. string.match(sealed, '^%S+ (.*)$'))
end

local tail, length
local counts, moved, remembered = {}, {}, {}

-- addresses: all that push or take will be asked for.
local function openMailbox(seq, addresses)
  tail = seq
  length = redis.call('XLEN', LOG)
  redis.call('ZCARD', IDS)
  for from = 1, #addresses, CHUNK do
    local last = math.min(from + CHUNK - 1, #addresses)
    local found = redis.call('HMGET', BACKLOG, unpack(addresses, from, last))
    for i = from, last do counts[addresses[i]] = tonumber(found[i - from + 1]) or 0 end
  end
end

-- A message's term: '!' before it if it is taken in any case, then the time up to which its id is remembered, or
-- nothing. Returns the latter two apart.
local function termOf(text)
  if string.sub(text, 1, 1) == '!' then return string.sub(text, 2), true end
  return text, false
end

local function isTerm(text)
  local until_ = termOf(text)
  return until_ == '' or finite(until_) ~= nil
end

-- Opens the mailbox for messages that are not part of a commit: from place `first` on, `size` arguments each, of which id,
-- address, term and text are the last four, behind a number if there are five. Returns namespace time, as number and text,
-- or nil and what to answer instead.
local function openForMessages(first, size)
  local stored = redis.call('HMGET', META, 'seq', 'clock', 'sealed')
  if stored[3] then return nil, sealedReply(stored[3]) end
  local now = serverTime()
  local at = plain(now)
  if stored[2] and tonumber(stored[2]) > now then
    now, at = tonumber(stored[2]), stored[2]
  end
  local addresses, listed = {}, {}
  for i = first, #ARGV, size do
    local id, to, term = ARGV[i + size - 4], ARGV[i + size - 3], ARGV[i + size - 2]
    if size == 5 and not finite(ARGV[i]) then return nil, redis.error_reply('ERR message ' .. id .. ' has the number ' .. ARGV[i]) end
    if not isTerm(term) then return nil, redis.error_reply('ERR message ' .. id .. ' is to be remembered until ' .. term) end
    if not listed[to] then
      listed[to] = true
      addresses[#addresses + 1] = to
    end
  end
  openMailbox(tonumber(stored[1]) or 0, addresses)
  redis.call('XLEN', DEAD)
  return now, at
end

local function hasRoom(to, always)
  return always or (counts[to] < backlogMax and length < logMax)
end

local function push(at, id, to, until_, text)
  tail = tail + 1
  length = length + 1
  counts[to] = counts[to] + 1
  moved[to] = true
  redis.call('XADD', LOG, plain(tail) .. '-0', 'a', at, 't', text)
  if until_ ~= '' then
    remembered[#remembered + 1] = until_
    remembered[#remembered + 1] = id
  end
end

-- Takes a message that cannot be refused here: into the log, there as one to be refused (overflowOf in ports/store.ts),
-- or, beyond twice the bounds, as a dead letter. overflown: whether any was not taken as it is.
local overflown = false
local function take(at, id, to, term, text)
  local until_, always = termOf(term)
  if hasRoom(to, always) then return push(at, id, to, until_, text) end
  overflown = true
  if counts[to] < 2 * backlogMax and length < 2 * logMax then
    return push(at, id, to, until_, '{"id":"' .. id .. '","to":"' .. to .. '","kind":"overflow","body":' .. text .. '}')
  end
  redis.call('XADD', DEAD, 'MAXLEN', '~', deadMax, '0-*', 'o', to, 'a', at, 't', text)
end

local function closeMailbox()
  local kept, gone = {}, {}
  for address in pairs(moved) do
    if counts[address] > 0 then
      kept[#kept + 1] = address
      kept[#kept + 1] = counts[address]
    else
      gone[#gone + 1] = address
    end
  end
  each('HSET', BACKLOG, kept, 1, #kept)
  each('HDEL', BACKLOG, gone, 1, #gone)
  each('ZADD', IDS, remembered, 1, #remembered)
end

-- Forgets what is over by now, a bounded number at a time. Returns what it forgot.
local function sweep(zset, now, max)
  local over = redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, max)
  each('ZREM', zset, over, 1, #over)
  return over
end
