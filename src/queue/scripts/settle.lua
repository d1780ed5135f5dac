-- Records how attempts ended: a batch, each fenced by (token, attempt).
--
-- KEYS 1 wait  2 sched  3 done  4 dead
-- ARGV 1 prefix  2 worker token  3 most done jobs kept, then six for each attempt:
--      job id, attempt, outcome ('done' | 'retry' | 'dead' | 'release'), delay in ms,
--      error record as JSON ('' = none), reason of a dead letter ('' = none; a leading '~' = a passing cause)
-- Answers 1 for each attempt that was still this worker's, 0 for one that was not: that one changed nothing.
local prefix, run = ARGV[1], ARGV[1] .. 'run:' .. ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local ids = {}
for i = 4, #ARGV, 6 do
  ids[#ids + 1] = ARGV[i]
end
local held = redis.call('HMGET', run, unpack(ids))

local answers, settled, mine, done, back = {}, {}, {}, {}, {}
local scheduled = false
for n, id in ipairs(ids) do
  local i = 4 + (n - 1) * 6
  local attempt, outcome, record = ARGV[i + 1], ARGV[i + 2], ARGV[i + 4]
  local started = held[n] and not settled[id] and string.match(held[n], '^' .. attempt .. ' (%d+)$')
  if started then
    settled[id] = true
    answers[n] = 1
    mine[#mine + 1] = id
    if record ~= '' then
      local errors = prefix .. 'errors:' .. id
      redis.call('RPUSH', errors, string.format('{"started":%s,"ended":%.0f,', started, now) .. string.sub(record, 2))
      redis.call('LTRIM', errors, -20, -1)
    end
    if outcome == 'done' then
      done[#done + 1] = now
      done[#done + 1] = id
    elseif outcome == 'retry' then
      redis.call('ZADD', KEYS[2], now + ARGV[i + 3], id)
      scheduled = true
    elseif outcome == 'release' then
      redis.call('HINCRBY', prefix .. 'job:' .. id, 'attempts', -1)
      back[#back + 1] = id
    else
      local reason = ARGV[i + 5]
      local passing = string.sub(reason, 1, 1) == '~'
      redis.call('HSET', prefix .. 'job:' .. id, 'reason', passing and string.sub(reason, 2) or reason,
        'transient', passing and '1' or '0')
      redis.call('ZADD', KEYS[4], now, id)
    end
  else
    answers[n] = 0
  end
end

if #mine > 0 then
  redis.call('HDEL', run, unpack(mine))
end
if #back > 0 then
  redis.call('LPUSH', KEYS[1], unpack(back))
end
if #done > 0 then
  redis.call('ZADD', KEYS[3], unpack(done))
  local over = math.min(redis.call('ZCARD', KEYS[3]) - ARGV[3], 2 * #ids)
  if over > 0 then
    local names, oldest = {}, redis.call('ZPOPMIN', KEYS[3], over)
    for i = 1, #oldest, 2 do
      local n = #names
      names[n + 1] = prefix .. 'data:' .. oldest[i]
      names[n + 2] = prefix .. 'job:' .. oldest[i]
      names[n + 3] = prefix .. 'errors:' .. oldest[i]
    end
    redis.call('UNLINK', unpack(names))
  end
end
if #back > 0 or scheduled then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return answers
