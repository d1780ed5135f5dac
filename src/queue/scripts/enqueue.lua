-- Accepts a batch of items, each atomically: seen once, enqueued once, logged.
--
-- KEYS 1 wait  2 sched  3 done  4 dead  5 log
-- ARGV 1 prefix  2 longest log (entries), then nine for each item:
--      once key ('' = none), its life in ms, job id ('' = no job), kind, payload, delay in ms,
--      1 = run again a job that is dead for a passing cause, log header ('' = no entry), log body
-- Answers, for each item: 'new' | 'seen' | 'live' | 'dead' | 'logged'
--
-- A job's id is its dedupe key: while the job's data is there and it is neither done nor dead, it is waiting, scheduled
-- or running. So a key whose job is missing cannot exist.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers, fresh, scheduled = {}, {}, false

local function forget(id)
  redis.call('UNLINK', prefix .. 'job:' .. id, prefix .. 'errors:' .. id)
end

local function accept(id, kind, payload, delay, revive)
  local data = prefix .. 'data:' .. id
  local value = kind .. ' ' .. string.format('%.0f', now) .. '\n' .. payload
  if not redis.call('SET', data, value, 'NX') then
    if redis.call('ZREM', KEYS[3], id) == 0 then
      if not redis.call('ZSCORE', KEYS[4], id) then
        return 'live'
      end
      if not revive or redis.call('HGET', prefix .. 'job:' .. id, 'transient') ~= '1' then
        return 'dead'
      end
      redis.call('ZREM', KEYS[4], id)
    end
    forget(id)
    redis.call('SET', data, value)
  end
  if delay > 0 then
    redis.call('ZADD', KEYS[2], now + delay, id)
    scheduled = true
  else
    fresh[#fresh + 1] = id
  end
  return 'new'
end

for i = 3, #ARGV, 9 do
  local once, id, header = ARGV[i], ARGV[i + 2], ARGV[i + 7]
  local answer
  if once ~= '' and not redis.call('SET', prefix .. once, '1', 'NX', 'PX', ARGV[i + 1]) then
    answer = 'seen'
  else
    if id == '' then
      answer = 'logged'
    else
      answer = accept(id, ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5]), ARGV[i + 6] == '1')
    end
    if header ~= '' then
      redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[2], '*', 'h', header, 'o', answer, 'b', ARGV[i + 8])
    end
  end
  answers[#answers + 1] = answer
end

-- Whoever sleeps found nothing to take, so a list that was not empty has nobody asleep beside it.
if #fresh > 0 and redis.call('RPUSH', KEYS[1], unpack(fresh)) == #fresh or scheduled then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return answers
