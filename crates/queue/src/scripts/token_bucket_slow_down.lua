-- Stops all calls for a while; after it they go on at a lower rate.
--
-- KEYS 1 bucket
-- ARGV 1 prefix  2 length of the stop, in µs
--
-- `slow` is when that ends, `factor` the part of the rate that is used from then on.
local clock = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'factor', 'slow', 'round')
local factor, slow = tonumber(state[1] or 1), tonumber(state[2] or 0)
local till = clock + ARGV[2]
if slow > clock + 120000000 then
  -- Redis' clock was set back.
  slow = 0
end
if slow >= till then
  return 0
end
if clock > slow + 1000000 then
  -- Calls that were under way together are refused together: that is one reason to slow down, not many.
  factor = math.max(0.125, math.min(1, factor + (clock - slow) / 60000000) / 2)
end
local stamp = string.format('%.0f', till)
redis.call('HSET', KEYS[1], 'next', stamp, 'slow', stamp, 'factor', string.format('%.6f', factor),
  'round', string.format('%.0f', (state[3] or 0) + 1))
redis.call('PEXPIRE', KEYS[1], math.ceil((till + 60000000 - clock) / 1000) + 1000)
return 1
