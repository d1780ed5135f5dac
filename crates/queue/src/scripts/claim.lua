-- Gives a worker its next jobs.
--
-- KEYS 1 wait  2 sched  3 lease  4 dead
-- ARGV 1 prefix  2 worker token  3 lease in ms  4 how many jobs  5 '1' = the token is new
--      6 most attempts  7 most crashes  8 number of the claim, unique for the token
--      9 most jobs that all workers together hold (0 = any)  10 most jobs a second that they begin (0 = any)
--      11 '2' = the worker holds no job and takes one from the list '!', '1' = it is willing to finish its jobs for that
-- Returns {ms until the next claim is worth it or -1, now in ms, id, data, id, data, …}, or {} if the token's lease is lost:
-- other workers have its jobs, and the worker must take a new token. {-2, now}: a job in '!' waits until this worker holds
-- no job.
--
-- A job that a worker died with is a suspect: from then on it waits in the list '!', and only a worker that holds no other
-- job takes it. Only a crash alone counts towards 'poison', because a dead worker's many jobs do not show which one killed it.
-- Crashes are '0' in the header, '00' for a suspect that has not crashed alone, else how often it has.
--
-- The attempt counts from the claim: a job in `run` whose worker is found dead has had one more.
local token, wanted = ARGV[2], tonumber(ARGV[4])

if ARGV[5] ~= '1' and has_lost_lease(KEYS[3], token) then
  return {}
end
-- A full Redis refuses a script if its first write needs memory, and lets it finish otherwise. Claims, renewals and
-- acknowledgements must get through, because they free memory.
redis.call('ZREM', KEYS[3], '')
redis.call('ZADD', KEYS[3], now + ARGV[3], token)
local paused, heard, tokens, filled = unpack(redis.call('HMGET', steer, 'paused', 'heard', 'tokens', 'filled'))
record_heartbeat(heard, KEYS[3], ARGV[3])

-- Scheduled jobs that are due, a bounded number: the next claim moves the rest.
local returned = false
local due = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 500)
if #due > 0 then
  redis.call('ZREM', KEYS[2], unpack(due))
  push_waiting_again(due, 'RPUSH')
  returned = true
end

-- One dead worker per claim: its jobs go to the front, or become dead letters if they have killed too many workers.
local gone, ended = unpack(redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES'))
if gone then
  local run = prefix .. 'run:' .. gone
  -- One HSCAN may return nothing although jobs are left.
  local cursor, held = '0', nil
  repeat
    cursor, held = unpack(redis.call('HSCAN', run, cursor, 'COUNT', 100))
  until #held > 0 or cursor == '0'
  local back, ids, changes = {}, {}, {}
  -- A score of 0: an earlier claim handled the first portion of its jobs.
  local alone = #held == 2 and cursor == '0' and ended ~= '0'
  local function crash(attempts, crashes)
    return attempts + 1, alone and crashes + 1 or crashes == '0' and '00' or crashes
  end
  -- Newest first, each to the front: this keeps their order, as far as the hash has.
  for i = math.min(#held, 2000) - 1, 1, -2 do
    local id = held[i]
    ids[#ids + 1] = id
    local attempts, crashes, group = update_counts(id, crash)
    if attempts then
      local errors = prefix .. 'errors:' .. id
      redis.call('RPUSH', errors, cjson.encode({ attempt = attempts, worker = gone, ended = now,
        code = 'worker_lost', error = 'the worker died, or lost its lease, while it ran this job' }))
      redis.call('LTRIM', errors, -20, -1)
      redis.call('PERSIST', errors)
      local poison = tonumber(crashes) >= tonumber(ARGV[7])
      if poison or attempts >= tonumber(ARGV[6]) then
        redis.call('HSET', prefix .. 'job:' .. id, 'reason', poison and 'poison' or 'worker_lost',
          'transient', poison and '0' or '1')
        redis.call('ZADD', KEYS[4], now, id)
        redis.call('HINCRBY', prefix .. 'stats', poison and 'dead_poison' or 'dead_worker_lost', 1)
        changes[#changes + 1] = 'dead ' .. id
      else
        add(back, group, id)
        changes[#changes + 1] = 'waiting ' .. id
      end
    end
  end
  if #ids > 0 then
    redis.call('HDEL', run, unpack(ids))
  end
  if #back > 0 then
    push_waiting(back, 'LPUSH')
    returned = true
  end
  publish(changes)
  if redis.call('EXISTS', run) == 0 then
    redis.call('ZREM', KEYS[3], gone)
    redis.call('SREM', spared, gone)
  else
    redis.call('ZADD', KEYS[3], 0, gone)
  end
end

-- How many jobs to take of each group: equal shares of the room, and what one does not need goes to the others.
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

local function holds_nothing()
  return redis.call('EXISTS', prefix .. 'run:' .. token) == 0
end

-- Takes one suspect for a worker that holds nothing else. '!' then goes behind all other groups.
local function take_suspect()
  local ids = holds_nothing() and redis.call('LPOP', line('!'), 1) or {}
  if redis.call('EXISTS', line('!')) == 0 then
    redis.call('ZREM', turn, '!')
  elseif #ids > 0 then
    redis.call('ZADD', turn, (last_turn() or 0) + 1, '!')
  end
  return ids, false
end

-- Whether this worker must finish its jobs to run suspects, whose turn it is: an idle one does, or the first by its token, so
-- that the others continue.
local function is_to_run_suspects(others_wait)
  if holds_nothing() then
    return ARGV[11] == '1' or not others_wait
  end
  if ARGV[11] ~= '1' then
    return false
  end
  for _, other in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    if other < token then
      return false
    end
  end
  return true
end

-- Takes jobs of the groups whose turn it is, at most 64 groups. A group with more waiting jobs goes behind all others.
-- Returns the ids, whether more could be taken, and whether it is the suspects' turn instead.
local function take(room)
  if redis.call('EXISTS', KEYS[1]) == 1 then
    -- Programs older than groups add to `wait` without a turn.
    redis.call('ZADD', turn, 'NX', 0, '-')
  end
  local count, suspects = math.min(room, 64), nil
  local groups = redis.call('ZRANGE', turn, 0, count - 1)
  for i, group in ipairs(groups) do
    suspects = suspects or group == '!' and i
  end
  if suspects then
    table.remove(groups, suspects)
    groups[#groups + 1] = redis.call('ZRANGE', turn, count, count)[1]
    if is_to_run_suspects(#groups > 0) then
      return {}, false, true
    end
  end
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
  local left = last ~= nil and (#behind > 0 or not suspects or redis.call('ZCARD', turn) > 1)
  if #behind > 0 and last ~= nil then
    local places = {}
    for i, group in ipairs(behind) do
      places[2 * i - 1], places[2 * i] = last + i, group
    end
    redis.call('ZADD', turn, unpack(places))
  end
  if #taken == 1 then
    return taken[1], left
  end
  -- One of each group in turn, so that no group's jobs run before all of another's in the worker.
  local ids = {}
  for place = 1, most do
    for i = 1, #taken do
      ids[#ids + 1] = taken[i][place]
    end
  end
  return ids, left
end

-- How many of the wanted jobs the queue's limits allow, and in how many ms there may be room for another.
local room, soon = paused and 0 or wanted, nil
local most, rate = tonumber(ARGV[9]) or 0, tonumber(ARGV[10]) or 0
if most > 0 and room > 0 then
  local free = most
  for _, holder in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    free = free - redis.call('HLEN', prefix .. 'run:' .. holder)
  end
  if free < room then
    -- A worker that finishes a job claims at once; the others claim this often.
    room, soon = math.max(0, free), 50
  end
end
if rate > 0 then
  -- A bucket that holds what one second allows.
  -- A time in the future: the clock was ahead.
  tokens = filled and tonumber(filled) <= now + 1000 and math.min(rate, tokens + math.max(0, now - filled) * rate / 1000) or rate
  if tokens < room then
    room = math.floor(tokens)
    soon = math.max(soon or 0, math.ceil((room + 1 - tokens) * 1000 / rate))
  end
end

local answer = { -1, now }
local taken, left, drain = {}, false, false
if room > 0 and ARGV[11] == '2' then
  taken, left = take_suspect()
elseif room > 0 then
  taken, left, drain = take(room)
end
local claimed = 0
if #taken > 0 then
  local names, run = {}, {}
  -- The time is for people; the number is the fencing token.
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
if drain then
  answer[1] = -2
elseif left and claimed < room then
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
