-- Gives a worker its next jobs.
--
-- KEYS 1 wait  2 sched  3 lease  4 dead
-- ARGV 1 prefix  2 worker token  3 lease in ms  4 how many jobs  5 '1' = the token is new
--      6 most attempts  7 most crashes  8 number of the claim, unique for the token
-- Answers {ms until the next scheduled job or -1, now in ms, id, data, id, data, …}, or {} where the token's lease is
-- gone: its jobs are somebody else's now, and the worker must take a new token.
--
-- The attempt counts from here on: a job that stands in `run` when its worker is found dead has had one more.
local token, wanted = ARGV[2], tonumber(ARGV[4])

if ARGV[5] ~= '1' and not redis.call('ZSCORE', KEYS[3], token) then
  return {}
end
-- A Redis that is full refuses a script's first write if that needs memory, and lets it finish if it does not. Claims,
-- renewals and settlements must get through: they are what makes room.
redis.call('ZREM', KEYS[3], '')
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
  -- One HSCAN looks at a bounded number of places and may find none of the last jobs of a large worker.
  local cursor, held = '0', nil
  repeat
    cursor, held = unpack(redis.call('HSCAN', run, cursor, 'COUNT', 100))
  until #held > 0 or cursor == '0'
  local back, ids = {}, {}
  -- Newest first, each to the front: the order stays, as far as the hash has kept it.
  for i = math.min(#held, 2000) - 1, 1, -2 do
    local id = held[i]
    ids[#ids + 1] = id
    local attempts, crashes = recount(id, function(a, c) return a + 1, c + 1 end)
    if attempts then
      local errors = prefix .. 'errors:' .. id
      redis.call('RPUSH', errors, cjson.encode({ attempt = attempts, worker = gone, ended = now,
        code = 'worker_lost', error = 'the worker died, or lost its lease, while it ran this job' }))
      redis.call('LTRIM', errors, -20, -1)
      redis.call('PERSIST', errors)
      local poison = crashes >= tonumber(ARGV[7])
      if poison or attempts >= tonumber(ARGV[6]) then
        redis.call('HSET', prefix .. 'job:' .. id, 'reason', poison and 'poison' or 'worker_lost',
          'transient', poison and '0' or '1')
        redis.call('ZADD', KEYS[4], now, id)
        redis.call('HINCRBY', prefix .. 'stats', poison and 'dead_poison' or 'dead_worker_lost', 1)
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

local answer = { -1, now }
local taken = wanted > 0 and redis.call('LPOP', KEYS[1], wanted)
if taken then
  local names, run = {}, {}
  for i, id in ipairs(taken) do
    names[i] = prefix .. 'data:' .. id
  end
  local data = redis.call('MGET', unpack(names))
  for i, id in ipairs(taken) do
    -- A job discarded while it waited has no data any more.
    if data[i] then
      local r, a = #run, #answer
      run[r + 1], run[r + 2] = id, ARGV[8]
      answer[a + 1], answer[a + 2] = id, data[i]
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
