-- Ends a request under an idempotency key, or holds it for longer, if the token still has it.
--
-- KEYS
--   1  the key's hash, see once-begin.lua
-- ARGV
--   1 token, 2 'renew', 'done', 'unknown' or 'released', 3 ms of the lease or of the retention, 4 the answer
-- Returns
--   1 if the token has the key, or had it and this is a repeat; else 0
local KEY, token, state, ms = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = redis.call('HMGET', KEY, 's', 't', 'r')
if not known[1] then return state == 'released' and 1 or 0 end
if known[2] ~= token then return 0 end
if known[1] ~= 'running' then return known[1] == state and 1 or 0 end
if state == 'renew' then
  local time = redis.call('TIME')
  redis.call('HSET', KEY, 'l', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ms))
  if known[3] then redis.call('PEXPIRE', KEY, string.format('%.0f', ms + tonumber(known[3]))) end
elseif state == 'released' then
  redis.call('DEL', KEY)
else
  redis.call('HSET', KEY, 's', state, 'a', ARGV[4])
  redis.call('PEXPIRE', KEY, ARGV[3])
end
return 1
