-- Looks for what somebody has found out; where nothing is known the caller is to find out, for a while. `SET … NX GET` would
-- do the same, from Redis 7.0 on.
--
-- KEYS 1 the memo
-- ARGV 1 prefix  2 ms that the caller has
-- Answers what the memo holds, or nothing.
local held = redis.call('GET', KEYS[1])
if held then
  return held
end
redis.call('SET', KEYS[1], '?', 'PX', ARGV[2])
return false
