-- Accepts a batch of items, each atomically: seen once, enqueued once, logged.
--
-- KEYS 1 wait (its slot)  2 sched  3 dead  4 log  5 stats
-- ARGV 1 prefix  2 longest log (entries), then ten for each item:
--      once key ('' = none), its life in ms, job id ('' = no job), 'kind/version group trace', group, payload, delay in
--      ms, 1 = run again a job that is dead for a passing cause (a reason: or for that one; * for any; 0 = not), log header
--      ('' = no entry), log body
-- Answers, for each item: 'new' | 'seen' | 'live' | 'dead' | 'logged'
--
-- A job's id is its dedupe key: while its data is there and it is not dead, it is waiting, scheduled or running. So a key
-- whose job is missing cannot exist.
local header = ' ' .. string.format('%.0f', now) .. ' 0 0\n'
local answers, fresh, scheduled, logged = {}, {}, false, false

local function accept(id, value, group, delay, revive)
  local data = prefix .. 'data:' .. id
  if not redis.call('SET', data, value, 'NX') then
    if not redis.call('ZSCORE', KEYS[3], id) then
      return 'live'
    end
    local cause = redis.call('HMGET', prefix .. 'job:' .. id, 'transient', 'reason')
    if revive == '0' or revive ~= '*' and cause[1] ~= '1' and cause[2] ~= revive then
      return 'dead'
    end
    redis.call('ZREM', KEYS[3], id)
    redis.call('UNLINK', prefix .. 'job:' .. id)
    redis.call('PEXPIRE', prefix .. 'errors:' .. id, errors_life)
    redis.call('SET', data, value)
  end
  if delay ~= '0' then
    redis.call('ZADD', KEYS[2], now + delay, id)
    scheduled = true
  else
    add(fresh, group, id)
  end
  return 'new'
end

for i = 3, #ARGV, 10 do
  local once, id, entry = ARGV[i], ARGV[i + 2], ARGV[i + 8]
  local answer = 'logged'
  if once ~= '' and not redis.call('SET', prefix .. once, '1', 'NX', 'PX', ARGV[i + 1]) then
    answer = 'seen'
  else
    if id ~= '' then
      answer = accept(id, ARGV[i + 3] .. header .. ARGV[i + 5], ARGV[i + 4], ARGV[i + 6], ARGV[i + 7])
    end
    if entry ~= '' then
      redis.call('XADD', KEYS[4], '*', 'h', entry, 'o', answer, 'b', ARGV[i + 9])
      logged = true
    end
  end
  answers[#answers + 1] = answer
end

-- The store has been away for long: the log must not take the memory that purchases need.
if logged and redis.call('XLEN', KEYS[4]) > tonumber(ARGV[2]) then
  redis.call('HINCRBY', KEYS[5], 'trimmed_log', redis.call('XTRIM', KEYS[4], 'MAXLEN', '~', ARGV[2]))
end
-- Whoever sleeps found nothing to take, so where something waited already nobody is asleep beside it.
if wait_in(fresh, 'RPUSH') or scheduled then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return answers
