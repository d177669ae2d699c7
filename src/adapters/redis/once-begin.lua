-- Begins a request under an idempotency key, or says what is known of it. Anybody may call it.
--
-- KEYS
--   1  the key's hash: d(igest), s(tate), t(oken), l(ease until), r(etention ms), a(nswer), w(hat its holder was told)
-- ARGV
--   1 digest, 2 token, 3 lease ms, 4 retention ms, 5 '1' to take over what is unknown
-- Returns
--   state, and the answer if it is done
local KEY, digest, token, leaseMs, retentionMs = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEY, 'd', 's', 't', 'l', 'a', 'w')
local lease = string.format('%.0f', now + leaseMs)
-- Whoever has it may live for its lease, and it is remembered from then on.
local keptMs = string.format('%.0f', leaseMs + retentionMs)

if not known[1] then
  redis.call('HSET', KEY, 'd', digest, 's', 'running', 't', token, 'l', lease, 'r', ARGV[4], 'w', 'begun')
  redis.call('PEXPIRE', KEY, keptMs)
  return { 'begun' }
end
if known[1] ~= digest then return { 'other' } end
if known[2] == 'done' then return { 'done', known[5] } end
if known[2] == 'running' then
  if known[3] == token then return { known[6] } end
  if tonumber(known[4]) > now then return { 'running' } end
end
if ARGV[5] ~= '1' then return { 'unknown' } end
redis.call('HSET', KEY, 's', 'running', 't', token, 'l', lease, 'r', ARGV[4], 'w', 'taken')
redis.call('PEXPIRE', KEY, keptMs)
return { 'taken' }
