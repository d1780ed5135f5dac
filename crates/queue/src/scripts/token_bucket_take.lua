-- Reserves a turn for a call, or says how long a reserved one still has to wait.
--
-- KEYS 1 bucket
-- ARGV 1 prefix  2 calls a second  3 how many may come at once  4 the longest wait that the caller accepts, in µs
--      5 the round of the turn that the caller has, empty: it has none  6 when that turn is, in µs since 1970
-- Returns 1 if it has a turn, 0 if the wait is too long; the wait in µs; the turn's round; when the turn is.
--
-- `next` is when the next turn is, without the burst. Each reservation moves it on by one gap. After a pause it lies in the
-- past, and up to a burst of that time may be used. `token_bucket_slow_down` begins a new round, which voids earlier turns.
local clock = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'next', 'round', 'factor', 'slow')
local round = state[2] or '0'
if ARGV[5] == round then
  return {1, math.max(0, ARGV[6] - clock), round, ARGV[6]}
end
local rate, slow = tonumber(ARGV[2]), tonumber(state[4] or 0)
if state[3] then
  -- It is back at the full rate within a minute.
  rate = rate * math.min(1, state[3] + math.max(0, clock - slow) / 60000000)
end
local gap = math.ceil(1000000 / rate)
local burst = gap * (ARGV[3] - 1)
local due = math.max(tonumber(state[1] or 0), clock - burst)
if due - clock > 120000000 + ARGV[4] then
  -- No wait is that long: Redis' clock was set back, perhaps by a failover.
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
