-- Prepended to each script. ARGV 1 is the prefix of the queue's keys. Times are in ms since 1970, by Redis' clock.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A dead job that runs again keeps its errors. They expire after 30 days, unless it fails again. In ms.
local errors_life = 2592000000
local turn, steer, spared = prefix .. 'turn', prefix .. 'steer', prefix .. 'spared'

-- Moves leases and scheduled times back by `ahead` ms, because Redis' clock was set back by that much. Works in bounded
-- portions. Returns whether nothing is left.
local function shift_times_back(heard, ahead, leases, life)
  for _, token in ipairs(redis.call('ZRANGE', leases, '(' .. (now + life), '+inf', 'BYSCORE', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', leases, now + life, token)
  end
  local sched = prefix .. 'sched'
  local late = redis.call('ZRANGE', sched, heard, '+inf', 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
  for i = 1, #late, 2 do
    redis.call('ZADD', sched, late[i + 1] - ahead, late[i])
  end
  return #late < 2000
end

-- Records that a worker is alive. `heard` is the last such time. Each living worker calls three times a lease. If none has
-- for half a lease, Redis or all workers were away, and an expired lease does not prove that its worker is dead: all leases
-- are extended, each once until its worker renews it. Written at most every twentieth of a lease, to save writes.
local function record_heartbeat(heard, leases, life)
  local silence = heard and now - heard
  if silence and silence >= 0 and silence < life / 20 then
    return
  end
  if silence and silence < -1000 and not shift_times_back(heard, -silence, leases, life) then
    return
  end
  -- No lease is that long: the clock was ahead when it was written.
  for _, token in ipairs(redis.call('ZRANGE', leases, '(' .. (now + 10 * life), '+inf', 'BYSCORE', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', leases, now + life, token)
  end
  redis.call('HSET', steer, 'heard', now)
  if not silence or silence < life / 2 then
    return
  end
  for _, token in ipairs(redis.call('ZRANGE', leases, '-inf', now + life, 'BYSCORE', 'LIMIT', 0, 1000)) do
    if redis.call('SADD', spared, token) == 1 then
      redis.call('ZADD', leases, now + life, token)
    end
  end
end

-- Whether a worker's lease is gone. If Redis lost the lease but not its jobs, the lease continues.
local function has_lost_lease(leases, token)
  return not redis.call('ZSCORE', leases, token) and redis.call('EXISTS', prefix .. 'run:' .. token) == 0
end

-- The group in whose list a job waits: its own ('-' = none), or '!' once a worker has died with it.
local function group_of(data)
  local header = string.match(string.sub(data, 1, 512), '^[^\n]*')
  if (string.match(header, ' (%d+)$') or '0') ~= '0' then
    return '!'
  end
  return string.match(header, '^[^ ]+/%d+ ([^ ]+) ') or '-'
end

-- Writes a job's attempts and crashes into the header of its data. Returns them and its group, or nothing if the job is gone.
-- A header that cannot be parsed is not changed: the job must still end as a dead letter.
local function update_counts(id, count)
  local key = prefix .. 'data:' .. id
  local data = redis.call('GET', key)
  if not data then
    return
  end
  local eol = string.find(data, '\n', 1, true) or 1
  local fixed, attempts, crashes = string.match(string.sub(data, 1, eol - 1), '^([^ ]+ [^\n]*%d) (%d+) (%d+)$')
  if not fixed then
    attempts, crashes = count('0', '0')
    return attempts, crashes, group_of(data)
  end
  attempts, crashes = count(attempts, crashes)
  data = fixed .. ' ' .. attempts .. ' ' .. crashes .. string.sub(data, eol)
  redis.call('SET', key, data)
  return attempts, crashes, group_of(data)
end

-- The list in which a group's jobs wait.
local function line(group)
  return group == '-' and prefix .. 'wait' or prefix .. 'wait:' .. group
end

-- Adds a job to its group's part of `lines`, which keeps the order in which jobs were added.
local function add(lines, group, id)
  local ids = lines[group]
  if not ids then
    ids = {}
    lines[group] = ids
    lines[#lines + 1] = group
  end
  ids[#ids + 1] = id
end

-- The highest score in `turn`, behind which the next group lines up, and whose it is; nil if no group waits.
local function last_turn()
  local last = redis.call('ZRANGE', turn, -1, -1, 'WITHSCORES')
  return tonumber(last[2]), last[1]
end

-- Adds jobs to the back ('RPUSH') or the front ('LPUSH') of their groups' lists. Returns whether nothing waited before, or
-- nothing but '!', which not every worker takes: then a worker may be asleep.
local function push_waiting(lines, push)
  local new = {}
  for _, group in ipairs(lines) do
    if redis.call(push, line(group), unpack(lines[group])) == #lines[group] then
      new[#new + 1] = group
    end
  end
  if #new == 0 then
    return false
  end
  local last, who = last_turn()
  local places = {}
  for i, group in ipairs(new) do
    places[2 * i - 1], places[2 * i] = (last or 0) + i, group
  end
  redis.call('ZADD', turn, unpack(places))
  return not last or who == '!'
end

-- The same for jobs whose groups are read from their data. A job without data was discarded, and is left out.
local function push_waiting_again(ids, push)
  local names, lines = {}, {}
  for i, id in ipairs(ids) do
    names[i] = prefix .. 'data:' .. id
  end
  local data = redis.call('MGET', unpack(names))
  for i, id in ipairs(ids) do
    if data[i] then
      add(lines, group_of(data[i]), id)
    end
  end
  return push_waiting(lines, push)
end

-- For each of these jobs that runs, the token of its worker.
local function holders(leases, ids)
  local holder = {}
  for _, token in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    local held = redis.call('HMGET', prefix .. 'run:' .. token, unpack(ids))
    for n, id in ipairs(ids) do
      if held[n] then
        holder[id] = token
      end
    end
  end
  return holder
end

-- Adds a group to `turn` if it has waiting jobs and is missing there.
local function ensure_turn(group)
  if redis.call('EXISTS', line(group)) == 1 and not redis.call('ZSCORE', turn, group) then
    redis.call('ZADD', turn, (last_turn() or 0) + 1, group)
  end
end

-- Whether a job that exists, and is not dead, is in no list; and its group. In a long list only both ends are searched: a job
-- between them is assumed to be there.
local function is_stray(id, sched, leases)
  if redis.call('ZSCORE', sched, id) or next(holders(leases, { id })) then
    return false
  end
  local group = group_of(redis.call('GETRANGE', prefix .. 'data:' .. id, 0, 511))
  local list = line(group)
  if redis.call('LPOS', list, id, 'MAXLEN', 5000) or redis.call('LPOS', list, id, 'RANK', -1, 'MAXLEN', 5000)
    or redis.call('LLEN', list) > 10000 then
    ensure_turn(group)
    return false
  end
  return true, group
end

-- Handles a job that is in no list: if it was dead, it is dead again. Else the caller must let it wait.
local function put_back(id, dead)
  redis.call('HINCRBY', prefix .. 'stats', 'recovered', 1)
  if redis.call('EXISTS', prefix .. 'job:' .. id) == 0 then
    return false
  end
  redis.call('ZADD', dead, now, id)
  return true
end

-- Publishes changes of jobs, a line each: the new state and the job's id. They are hints, so if Redis refuses to publish, the
-- script must continue.
local function publish(lines)
  if #lines > 0 then
    redis.pcall('PUBLISH', prefix .. 'told', table.concat(lines, '\n'))
  end
end
