-- Takes a place in the line of those who call, or tells how long one that was taken still waits.
--
-- KEYS 1 bucket
-- ARGV 1 prefix  2 calls a second  3 how many may come at once  4 the longest wait that is worth a place, in µs
--      5 the round of the place that the caller has, empty: it has none  6 when that place is, in µs since 1970
-- Answers: 1 if it has a place, 0 if the line is too long; the wait, in µs; the round of the place; when the place is.
--
-- `next` is when the next place is, were there no burst: each place moves it on, so that those who wait stand one behind
-- the other. It lies in the past where nobody came, and up to a burst of that may be made up for. `bucket_slow` begins a
-- new round: the places of the one before are void.
local clock = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'next', 'round', 'factor', 'slow')
local round = state[2] or '0'
if ARGV[5] == round then
  return {1, math.max(0, ARGV[6] - clock), round, ARGV[6]}
end
local rate, slow = tonumber(ARGV[2]), tonumber(state[4] or 0)
if state[3] then
  -- It comes back to the full rate in a minute at most.
  rate = rate * math.min(1, state[3] + math.max(0, clock - slow) / 60000000)
end
local gap = math.ceil(1000000 / rate)
local burst = gap * (ARGV[3] - 1)
local due = math.max(tonumber(state[1] or 0), clock - burst)
if due - clock > 120000000 + ARGV[4] then
  -- No line is that long: Redis' clock was put back, by a failover perhaps.
  due, slow = clock, 0
end
local wait = math.max(0, due - clock)
if wait > tonumber(ARGV[4]) then
  return {0, wait, round, '0'}
end
redis.call('HSET', KEYS[1], 'next', string.format('%.0f', due + gap), 'round', round)
-- Nothing is forgotten before it makes no difference.
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(due + gap + burst, slow + 60000000) - clock) / 1000) + 1000)
return {1, wait, round, string.format('%.0f', math.max(due, clock))}
