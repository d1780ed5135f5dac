-- Records a worker, each time that it renews its lease.
--
-- KEYS 1 workers
-- ARGV 1 prefix  2 its name  3 its description, as JSON  4 how long a silent one is remembered, in ms
-- Entries: 'since-ms heard-ms JSON'. Removes a few that have been silent for that long.
local known = redis.call('HGET', KEYS[1], ARGV[2])
local stamp = string.format('%.0f', now)
local since = known and string.match(known, '^%d+') or stamp
redis.call('HSET', KEYS[1], ARGV[2], since .. ' ' .. stamp .. ' ' .. ARGV[3])
-- A few at random: a scan whose start follows the clock may never reach some, because renewals follow it, too.
local entries = redis.call('HRANDFIELD', KEYS[1], 20, 'WITHVALUES')
for i = 1, #entries, 2 do
  local heard = tonumber(string.match(entries[i + 1], '^%d+ (%d+) ')) or 0
  if heard < now - ARGV[4] then
    redis.call('HDEL', KEYS[1], entries[i])
  end
end
return 1
