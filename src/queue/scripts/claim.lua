-- Gives a worker its next jobs.
--
-- KEYS 1 wait  2 sched  3 lease  4 dead
-- ARGV 1 prefix  2 worker token  3 lease in ms  4 how many jobs  5 '1' = the token is new
--      6 most attempts  7 most crashes  8 number of the claim, unique for the token
--      9 most jobs that all workers together hold (0 = any)  10 most jobs a second that they begin (0 = any)
-- Answers {ms until the next look is worth it or -1, now in ms, id, data, id, data, …}, or {} where the token's lease is
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
local paused, heard, tokens, filled = unpack(redis.call('HMGET', steer, 'paused', 'heard', 'tokens', 'filled'))
hear(heard, KEYS[3], ARGV[3])

-- Scheduled jobs that are due, in bounded chunks: what is left over comes with the next claim.
local returned = false
local due = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 500)
if #due > 0 then
  redis.call('ZREM', KEYS[2], unpack(due))
  wait_again(due, 'RPUSH')
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
  local back, ids, told = {}, {}, {}
  -- Newest first, each to the front: the order stays, as far as the hash has kept it.
  for i = math.min(#held, 2000) - 1, 1, -2 do
    local id = held[i]
    ids[#ids + 1] = id
    local attempts, crashes, group = recount(id, function(a, c) return a + 1, c + 1 end)
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
        told[#told + 1] = 'dead ' .. id
      else
        add(back, group, id)
        told[#told + 1] = 'waiting ' .. id
      end
    end
  end
  if #ids > 0 then
    redis.call('HDEL', run, unpack(ids))
  end
  if #back > 0 then
    wait_in(back, 'LPUSH')
    returned = true
  end
  tell(told)
  if redis.call('EXISTS', run) == 0 then
    redis.call('ZREM', KEYS[3], gone)
    redis.call('SREM', spared, gone)
  end
end

-- How many jobs of each group: as many of each as there is room for, and what one leaves over goes to the others.
local function shares(waiting, room)
  local given, hungry = {}, {}
  for i = 1, #waiting do
    given[i], hungry[i] = 0, i
  end
  while room > 0 and #hungry > 0 do
    local each, still = math.max(1, math.floor(room / #hungry)), {}
    for _, i in ipairs(hungry) do
      local more = math.min(each, room, waiting[i] - given[i])
      given[i], room = given[i] + more, room - more
      if given[i] < waiting[i] then
        still[#still + 1] = i
      end
    end
    hungry = still
  end
  return given
end

-- Takes jobs of the groups whose turn it is, at most 64 groups; who has more waiting lines up behind all others.
-- Answers the ids, and whether something is left that could be taken.
local function take(room)
  if redis.call('EXISTS', KEYS[1]) == 1 then
    -- A program of before there were groups adds to `wait` without lining up.
    redis.call('ZADD', turn, 'NX', 0, '-')
  end
  local groups = redis.call('ZRANGE', turn, 0, math.min(room, 64) - 1)
  if #groups == 0 then
    return {}, false
  end
  local waiting = {}
  for i, group in ipairs(groups) do
    waiting[i] = redis.call('LLEN', line(group))
  end
  local taken, most, behind, over = {}, 0, {}, {}
  for i, share in ipairs(shares(waiting, room)) do
    taken[i] = share > 0 and redis.call('LPOP', line(groups[i]), share) or {}
    most = math.max(most, #taken[i])
    local list = #taken[i] < waiting[i] and behind or over
    list[#list + 1] = groups[i]
  end
  if #over > 0 then
    redis.call('ZREM', turn, unpack(over))
  end
  local last = last_turn()
  if #behind > 0 and last ~= nil then
    local places = {}
    for i, group in ipairs(behind) do
      places[2 * i - 1], places[2 * i] = last + i, group
    end
    redis.call('ZADD', turn, unpack(places))
  end
  if #taken == 1 then
    return taken[1], last ~= nil
  end
  -- One of each group in turn, so that no group's jobs stand before all of another's in the worker.
  local ids = {}
  for place = 1, most do
    for i = 1, #taken do
      ids[#ids + 1] = taken[i][place]
    end
  end
  return ids, last ~= nil
end

-- How many the queue's limits leave of those that are wanted, and in how many ms there may be room for another.
local room, soon = paused and 0 or wanted, nil
local most, rate = tonumber(ARGV[9]) or 0, tonumber(ARGV[10]) or 0
if most > 0 and room > 0 then
  local free = most
  for _, holder in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    free = free - redis.call('HLEN', prefix .. 'run:' .. holder)
  end
  if free < room then
    -- Whoever lets a job go looks at once; the others look this often.
    room, soon = math.max(0, free), 50
  end
end
if rate > 0 then
  -- A bucket that holds what one second allows.
  tokens = filled and math.min(rate, tokens + math.max(0, now - filled) * rate / 1000) or rate
  if tokens < room then
    room = math.floor(tokens)
    soon = math.max(soon or 0, math.ceil((room + 1 - tokens) * 1000 / rate))
  end
end

local answer = { -1, now }
local taken, left = {}, false
if room > 0 then
  taken, left = take(room)
end
local claimed = 0
if #taken > 0 then
  local names, run = {}, {}
  -- With when, for people: what fences is the number.
  local claim = ARGV[8] .. ' ' .. string.format('%.0f', now)
  for i, id in ipairs(taken) do
    names[i] = prefix .. 'data:' .. id
  end
  local data = redis.call('MGET', unpack(names))
  for i, id in ipairs(taken) do
    -- A job discarded while it waited has no data any more.
    if data[i] then
      local r, a = #run, #answer
      claimed = claimed + 1
      run[r + 1], run[r + 2] = id, claim
      answer[a + 1], answer[a + 2] = id, data[i]
    end
  end
  if #run > 0 then
    redis.call('HSET', prefix .. 'run:' .. token, unpack(run))
  end
end
if returned and redis.call('EXISTS', turn) == 1 then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
if rate > 0 then
  redis.call('HSET', steer, 'tokens', tokens - claimed, 'filled', now)
end
if left and claimed < room then
  answer[1] = 0
elseif soon and claimed == room then
  answer[1] = soon
elseif claimed < wanted or wanted == 0 then
  local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if next[2] then
    answer[1] = math.max(0, next[2] - now)
  end
end
return answer
