-- Stands before each script: ARGV 1 is the prefix of the queue's keys; time is Redis' own, in ms since 1970.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A dead job that runs again takes its errors along: they go after 30 days unless it fails anew. In ms.
local errors_life = 2592000000
local turn, steer, spared = prefix .. 'turn', prefix .. 'steer', prefix .. 'spared'

-- Notes that a worker was heard; `heard` is when one was heard before. A living one is heard three times in a lease: where
-- none was for half a lease, Redis was away, or all of them were, and no lease's end tells that its worker is dead. So all
-- leases begin anew, each once until its worker renews it. To the twentieth of a lease: not every claim is worth a write.
local function hear(heard, leases, life)
  local silence = heard and now - heard
  if silence and silence >= 0 and silence < life / 20 then
    return
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

-- Whose turn it must be for this job to run: '-' is nobody's in particular.
local function group_of(data)
  return string.match(string.sub(data, 1, 512), '^[^ \n]+/%d+ ([^ \n]+) ') or '-'
end

-- Writes a job's counts into the header of its data. Answers its new counts and its group, or nothing where the job is
-- gone. A header that cannot be read stays as it is: its job is still somebody's, and must end as a dead letter.
local function recount(id, count)
  local key = prefix .. 'data:' .. id
  local data = redis.call('GET', key)
  if not data then
    return
  end
  local eol = string.find(data, '\n', 1, true) or 1
  local fixed, attempts, crashes = string.match(string.sub(data, 1, eol - 1), '^([^ ]+ [^\n]*%d) (%d+) (%d+)$')
  if not fixed then
    attempts, crashes = count(0, 0)
    return attempts, crashes, group_of(data)
  end
  attempts, crashes = count(tonumber(attempts), tonumber(crashes))
  redis.call('SET', key, fixed .. ' ' .. attempts .. ' ' .. crashes .. string.sub(data, eol))
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

-- Where the next group lines up: behind all that have jobs waiting. Answers nil where there is none.
local function last_turn()
  return tonumber(redis.call('ZRANGE', turn, -1, -1, 'WITHSCORES')[2])
end

-- Lets jobs wait, at the back ('RPUSH') or at the front ('LPUSH') of their groups' lines. Answers whether nothing
-- waited before: then somebody may be asleep.
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
  local last = last_turn()
  local places = {}
  for i, group in ipairs(new) do
    places[2 * i - 1], places[2 * i] = (last or 0) + i, group
  end
  redis.call('ZADD', turn, unpack(places))
  return not last
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

-- Tells those who wait for these jobs where they stand now: a line each, its state and its id. A hint, which changes
-- nothing: where Redis does not let us publish, the script must not end half-way.
local function tell(lines)
  if #lines > 0 then
    redis.pcall('PUBLISH', prefix .. 'told', table.concat(lines, '\n'))
  end
end
