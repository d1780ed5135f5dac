-- Stands before each script: ARGV 1 is the prefix of the queue's keys; time is Redis' own, in ms since 1970.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A dead job that runs again takes its errors along: they go after 30 days unless it fails anew. In ms.
local errors_life = 2592000000
local turn, steer, spared = prefix .. 'turn', prefix .. 'steer', prefix .. 'spared'

-- Redis' clock was put back, by so many ms: what it has written runs as much earlier. In bounded portions: answers whether
-- that was all.
local function put_clock_back(heard, ahead, leases, life)
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

-- Notes that a worker was heard; `heard` is when one was heard before. A living one is heard three times in a lease: where
-- none was for half a lease, Redis was away, or all of them were, and no lease's end tells that its worker is dead. So all
-- leases begin anew, each once until its worker renews it. To the twentieth of a lease: not every claim is worth a write.
local function hear(heard, leases, life)
  local silence = heard and now - heard
  if silence and silence >= 0 and silence < life / 20 then
    return
  end
  if silence and silence < -1000 and not put_clock_back(heard, -silence, leases, life) then
    return
  end
  -- No lease is that long: it was written by a clock that was ahead.
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

-- Whether a worker's lease is gone. Where Redis has lost it and not the jobs, it begins anew.
local function has_lost_lease(leases, token)
  return not redis.call('ZSCORE', leases, token) and redis.call('EXISTS', prefix .. 'run:' .. token) == 0
end

-- The line in which a job waits: its group's ('-' is nobody's in particular), or '!' once a worker has died with it.
local function group_of(data)
  local header = string.match(string.sub(data, 1, 512), '^[^\n]*')
  if (string.match(header, ' (%d+)$') or '0') ~= '0' then
    return '!'
  end
  return string.match(header, '^[^ ]+/%d+ ([^ ]+) ') or '-'
end

-- Writes a job's counts, which are digits, into the header of its data. Answers its new counts and its line, or nothing
-- where the job is gone. A header that cannot be read stays as it is: its job is still somebody's, and must end as a dead
-- letter.
local function recount(id, count)
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

-- Jobs by their groups, each group's in the order in which they were added.
local function add(lines, group, id)
  local ids = lines[group]
  if not ids then
    ids = {}
    lines[group] = ids
    lines[#lines + 1] = group
  end
  ids[#ids + 1] = id
end

-- Where the next group lines up: behind all that have jobs waiting. Answers nil where there is none; and which is last.
local function last_turn()
  local last = redis.call('ZRANGE', turn, -1, -1, 'WITHSCORES')
  return tonumber(last[2]), last[1]
end

-- Lets jobs wait, at the back ('RPUSH') or at the front ('LPUSH') of their groups' lines. Answers whether nothing
-- waited before, or nothing but '!', which not everybody takes: then somebody may be asleep.
local function wait_in(lines, push)
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

-- The same for jobs whose groups stand in their data; one that has no data was discarded, and is left out.
local function wait_again(ids, push)
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
  return wait_in(lines, push)
end

-- Which worker's token holds which of these jobs.
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

-- Lets a group have its turn that has jobs waiting and has lost it.
local function line_up(group)
  if redis.call('EXISTS', line(group)) == 1 and not redis.call('ZSCORE', turn, group) then
    redis.call('ZADD', turn, (last_turn() or 0) + 1, group)
  end
end

-- Whether a job that is there, and not dead, stands in no list; and its group. Of a long line only the ends are looked at:
-- who stands between them is taken to be there.
local function is_stray(id, sched, leases)
  if redis.call('ZSCORE', sched, id) or next(holders(leases, { id })) then
    return false
  end
  local group = group_of(redis.call('GETRANGE', prefix .. 'data:' .. id, 0, 511))
  local list = line(group)
  if redis.call('LPOS', list, id, 'MAXLEN', 5000) or redis.call('LPOS', list, id, 'RANK', -1, 'MAXLEN', 5000)
    or redis.call('LLEN', list) > 10000 then
    line_up(group)
    return false
  end
  return true, group
end

-- Puts a job that stands in no list back among the dead, where it comes from there. Else it is to wait again.
local function put_back(id, dead)
  redis.call('HINCRBY', prefix .. 'stats', 'recovered', 1)
  if redis.call('EXISTS', prefix .. 'job:' .. id) == 0 then
    return false
  end
  redis.call('ZADD', dead, now, id)
  return true
end

-- Publishes changes of jobs, a line each: the new state and the job's id. They are hints: where Redis refuses to publish, the
-- script must not stop half-way.
local function publish(lines)
  if #lines > 0 then
    redis.pcall('PUBLISH', prefix .. 'told', table.concat(lines, '\n'))
  end
end
