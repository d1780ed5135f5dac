-- Forgets what has been kept long enough, oldest first, a bounded chunk at a time.
--
-- KEYS 1 done  2 dead  3 stats
-- ARGV 1 prefix  2 life of a done job in ms  3 life of a dead one in ms
-- Answers how many jobs were forgotten.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local total = 0
for i, counter in ipairs({ 'trimmed_done', 'trimmed_dead' }) do
  local old = redis.call('ZRANGE', KEYS[i], '-inf', now - ARGV[i + 1], 'BYSCORE', 'LIMIT', 0, 500)
  if #old > 0 then
    redis.call('ZREM', KEYS[i], unpack(old))
    local names = {}
    for _, id in ipairs(old) do
      local n = #names
      names[n + 1], names[n + 2] = prefix .. 'data:' .. id, prefix .. 'job:' .. id
      names[n + 3] = prefix .. 'errors:' .. id
    end
    redis.call('UNLINK', unpack(names))
    redis.call('HINCRBY', KEYS[3], counter, #old)
    total = total + #old
  end
end
return total
