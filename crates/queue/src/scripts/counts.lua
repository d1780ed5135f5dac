-- Counts the jobs in each state. It is a script because a full Redis refuses a MULTI.
--
-- KEYS 1 wait  2 sched  3 lease  4 done  5 dead  6 log
-- ARGV 1 prefix  2 the first of the groups whose waiting jobs are counted, from 0 on  3 how many groups
-- Returns {how many groups there are, waiting in these (and in `wait`, with the first), scheduled, running, done, dead, log}.
local first = tonumber(ARGV[2])
-- Programs older than groups add to `wait` without a turn.
local waiting = first == 0 and redis.call('LLEN', KEYS[1]) or 0
for _, group in ipairs(redis.call('ZRANGE', turn, first, first + ARGV[3] - 1)) do
  if group ~= '-' then
    waiting = waiting + redis.call('LLEN', prefix .. 'wait:' .. group)
  end
end
local running = 0
for _, token in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  running = running + redis.call('HLEN', prefix .. 'run:' .. token)
end
return { redis.call('ZCARD', turn), waiting, redis.call('ZCARD', KEYS[2]), running, redis.call('LLEN', KEYS[4]),
  redis.call('ZCARD', KEYS[5]), redis.call('XLEN', KEYS[6]) }
