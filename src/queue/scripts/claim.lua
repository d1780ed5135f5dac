-- Gives a worker its next jobs, each attempt counted here, so that a crash cannot forget it.
--
-- KEYS 1 wait  2 sched  3 lease  4 dead
-- ARGV 1 prefix  2 worker token  3 lease in ms  4 how many jobs  5 '1' = the token is new
--      6 most attempts  7 most crashes
-- Answers {ms until the next scheduled job or -1, id, data, attempt, id, data, attempt, …}, or {} where the token's
-- lease is gone: its jobs are somebody else's now, and the worker must take a new token.
local prefix, token, wanted = ARGV[1], ARGV[2], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if ARGV[5] ~= '1' and not redis.call('ZSCORE', KEYS[3], token) then
  return {}
end
redis.call('ZADD', KEYS[3], now + ARGV[3], token)

-- Scheduled jobs that are due, in bounded chunks: what is left over comes with the next claim.
local returned = false
local due = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 500)
if #due > 0 then
  redis.call('ZREM', KEYS[2], unpack(due))
  redis.call('RPUSH', KEYS[1], unpack(due))
  returned = true
end

-- One dead worker at a time: its jobs go to the front, or to the dead letters when they kill whoever takes them.
local gone = redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if gone then
  local run = prefix .. 'run:' .. gone
  local held = redis.call('HSCAN', run, 0, 'COUNT', 100)[2]
  local back, ids = {}, {}
  for i = 1, #held, 2 do
    local id = held[i]
    local attempt, started = string.match(held[i + 1], '^(%d+) (%d+)$')
    local job = prefix .. 'job:' .. id
    ids[#ids + 1] = id
    if redis.call('EXISTS', prefix .. 'data:' .. id) == 1 then
      local crashes = redis.call('HINCRBY', job, 'crashes', 1)
      local poison, spent = crashes >= tonumber(ARGV[7]), tonumber(attempt) >= tonumber(ARGV[6])
      redis.call('RPUSH', prefix .. 'errors:' .. id, cjson.encode({
        attempt = tonumber(attempt), worker = gone, started = tonumber(started), ended = now,
        code = 'worker_lost', error = 'the worker died, or lost its lease, while it ran this job' }))
      redis.call('LTRIM', prefix .. 'errors:' .. id, -20, -1)
      if poison or spent then
        redis.call('HSET', job, 'reason', poison and 'poison' or 'worker_lost', 'transient', poison and '0' or '1')
        redis.call('ZADD', KEYS[4], now, id)
      else
        back[#back + 1] = id
      end
    end
  end
  if #ids > 0 then
    redis.call('HDEL', run, unpack(ids))
  end
  if #back > 0 then
    redis.call('LPUSH', KEYS[1], unpack(back))
    returned = true
  end
  if redis.call('EXISTS', run) == 0 then
    redis.call('ZREM', KEYS[3], gone)
  end
end

local answer = { -1 }
local taken = wanted > 0 and redis.call('LPOP', KEYS[1], wanted)
if taken then
  local names, run = {}, {}
  for i, id in ipairs(taken) do
    names[i] = prefix .. 'data:' .. id
  end
  local data = redis.call('MGET', unpack(names))
  local start = ' ' .. string.format('%.0f', now)
  for i, id in ipairs(taken) do
    -- A job discarded while it waited has no data any more.
    if data[i] then
      local attempt = redis.call('HINCRBY', prefix .. 'job:' .. id, 'attempts', 1)
      run[#run + 1] = id
      run[#run + 1] = attempt .. start
      local n = #answer
      answer[n + 1], answer[n + 2], answer[n + 3] = id, data[i], attempt
    end
  end
  if #run > 0 then
    redis.call('HSET', prefix .. 'run:' .. token, unpack(run))
  end
end
if returned and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
if not taken or #taken < wanted then
  local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if next[2] then
    answer[1] = math.max(0, next[2] - now)
  end
end
return answer
