-- Deletes what has been kept long enough, oldest first, a bounded number at a time.
--
-- KEYS 1 done  2 dead  3 stats
-- ARGV 1 prefix  2 life of a done job in ms  3 life of a dead one in ms
-- Returns how many jobs were deleted.

local done = 0
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, 499)) do
  -- An entry that cannot be parsed goes as well: it would stop the trimming for ever.
  if (tonumber(string.match(entry, ' (%d+) %d+$')) or 0) > now - ARGV[2] then
    break
  end
  done = done + 1
end
if done > 0 then
  redis.call('LPOP', KEYS[1], done)
  redis.call('HINCRBY', KEYS[3], 'trimmed_done', done)
end

local dead = redis.call('ZRANGE', KEYS[2], '-inf', now - ARGV[3], 'BYSCORE', 'LIMIT', 0, 500)
if #dead > 0 then
  redis.call('ZREM', KEYS[2], unpack(dead))
  local names = {}
  for _, id in ipairs(dead) do
    local n = #names
    names[n + 1], names[n + 2] = prefix .. 'data:' .. id, prefix .. 'job:' .. id
    names[n + 3] = prefix .. 'errors:' .. id
  end
  redis.call('UNLINK', unpack(names))
  redis.call('HINCRBY', KEYS[3], 'trimmed_dead', #dead)
end
return done + #dead
