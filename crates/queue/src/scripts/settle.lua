-- Acknowledges a batch of attempts, each fenced by (token, claim).
--
-- KEYS 1 sched  2 done  3 dead  4 stats
-- ARGV 1 prefix  2 worker token  3 most done jobs kept  4 life of a done job's errors in ms, then seven for each attempt:
--      job id, number of its claim, attempt, outcome ('done' | 'retry' | 'dead' | 'put_off' | 'leave'), delay in ms,
--      error record as JSON ('' = none), reason of a dead letter ('' = none; a leading '~' = a passing cause)
-- 'put_off': its turn at a limit has not come. The attempt does not count, and is not recorded.
-- 'leave': this worker does not know the job's kind, a newer one may. The attempt does not count, and the job is due again
-- after 2 s to a minute. If no worker has known it for the given delay, it is dead.
-- Returns 1 for each attempt that this worker still held, and 0 for others, which change nothing.
local run = prefix .. 'run:' .. ARGV[2]
local stamp = string.format('%.0f', now)

local ids = {}
for i = 5, #ARGV, 7 do
  ids[#ids + 1] = ARGV[i]
end
local held = redis.call('HMGET', run, unpack(ids))

-- A write that needs no memory, first: see claim.lua.
redis.call('HDEL', run, '')

-- When a job that this worker does not know is due again; nothing if no worker has known it for too long.
local function look_again(id, patience)
  local key = prefix .. 'left:' .. id
  redis.call('SET', key, stamp, 'NX', 'PX', 3600000)
  local age = now - redis.call('GET', key)
  if age >= tonumber(patience) then
    redis.call('UNLINK', key)
    return
  end
  -- It expires once the job is known: no other script needs to delete it.
  redis.call('PEXPIRE', key, 3600000)
  return now + math.max(2000, math.min(60000, math.floor(age / 4)))
end

local answers, settled, mine, done, over, changes = {}, {}, {}, {}, {}, {}
local scheduled = false
for n, id in ipairs(ids) do
  local i = n * 7 - 2
  if held[n] and string.find(held[n], ARGV[i + 1] .. ' ', 1, true) == 1 and not settled[id] then
    local attempt, outcome, record = ARGV[i + 2], ARGV[i + 3], ARGV[i + 5]
    settled[id] = true
    answers[n] = 1
    mine[#mine + 1] = id
    local again = outcome == 'put_off' and now + ARGV[i + 4] or outcome == 'leave' and look_again(id, ARGV[i + 4])
    if again then
      redis.call('ZADD', KEYS[1], again, id)
      scheduled = true
      changes[#changes + 1] = 'scheduled ' .. id
    elseif outcome == 'done' then
      done[#done + 1] = id .. ' ' .. stamp .. ' ' .. attempt
      over[#over + 1] = prefix .. 'data:' .. id
      changes[#changes + 1] = 'done ' .. id
      if attempt ~= '1' then
        redis.call('PEXPIRE', prefix .. 'errors:' .. id, ARGV[4])
      end
    else
      local errors = prefix .. 'errors:' .. id
      redis.call('RPUSH', errors, '{"ended":' .. stamp .. ',' .. string.sub(record, 2))
      redis.call('LTRIM', errors, -20, -1)
      redis.call('PERSIST', errors)
      if update_counts(id, function(_, c) return attempt, c end) then
        if outcome == 'retry' then
          redis.call('ZADD', KEYS[1], now + ARGV[i + 4], id)
          scheduled = true
          changes[#changes + 1] = 'scheduled ' .. id
        else
          local reason = ARGV[i + 6]
          local passing = string.sub(reason, 1, 1) == '~'
          redis.call('HSET', prefix .. 'job:' .. id, 'reason', passing and string.sub(reason, 2) or reason,
            'transient', passing and '1' or '0')
          redis.call('ZADD', KEYS[3], now, id)
          changes[#changes + 1] = 'dead ' .. id
          if outcome == 'leave' then
            redis.call('HINCRBY', KEYS[4], 'dead_unknown', 1)
          end
        end
      end
    end
  else
    answers[n] = 0
  end
end

if #mine > 0 then
  redis.call('HDEL', run, unpack(mine))
end
if #done > 0 then
  redis.call('UNLINK', unpack(over))
  local surplus = redis.call('RPUSH', KEYS[2], unpack(done)) - ARGV[3]
  if surplus > 0 then
    surplus = math.min(surplus, 5000)
    redis.call('LTRIM', KEYS[2], surplus, -1)
    redis.call('HINCRBY', KEYS[4], 'trimmed_done', surplus)
  end
end
if scheduled then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
publish(changes)
return answers
