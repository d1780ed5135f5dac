-- Looks up a shared answer. If there is none, the caller must fetch it, and the others wait for a while. `SET … NX GET`
-- does the same from Redis 7.0 on.
--
-- KEYS 1 the answer
-- ARGV 1 prefix  2 how long the others wait for the caller, in ms
-- Returns what the key holds, or nothing.
local held = redis.call('GET', KEYS[1])
if held then
  return held
end
redis.call('SET', KEYS[1], '?', 'PX', ARGV[2])
return false
