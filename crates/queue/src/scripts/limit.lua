-- Rate limiter (GCRA): accepts one call, or returns how long it must wait. Each limit refills evenly and allows a burst. A
-- call that one limit refuses counts for none.
--
-- KEYS the limits
-- ARGV 1 prefix, then for each limit: ms that one call costs, and the most ms that may be spent ahead of time
-- Returns 0, or the ms to wait.
local spent, wait = {}, 0
for i = 2, #ARGV, 2 do
  local key, cost, most = KEYS[i / 2], tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local until_now = math.max(now, tonumber(redis.call('GET', key) or 0)) + cost
  -- After the clock was set back, nobody must wait for it.
  if until_now - now > 2 * most + cost then
    until_now = now + cost
  end
  spent[i / 2] = until_now
  wait = math.max(wait, until_now - most - now)
end
if wait > 0 then
  return math.ceil(wait)
end
for i, until_now in ipairs(spent) do
  redis.call('SET', KEYS[i], string.format('%.3f', until_now), 'PX', math.ceil(until_now - now))
end
return 0
