-- Searches a portion of all keys for jobs that are in no list, and for workers' jobs without a lease: Redis has lost some keys
-- (by `allkeys-lru`, or because a person deleted them) and kept others.
--
-- KEYS 1 sched  2 dead  3 lease  4 stray
-- ARGV 1 prefix  2 how many keys  3 lease in ms  4 the longest delay in ms  5 the cursor ('' = the shared one, and
--      repair what is found; else only count it)
-- Returns {the next cursor, how many jobs are in no list, how many of them were put back}.
--
-- A job is put back when a second pass finds it: by then the jobs of a living worker have a lease again.
local only_count = ARGV[5] ~= ''
local cursor, pass = ARGV[5], 0
if not only_count then
  local at = redis.call('HMGET', steer, 'cursor', 'pass')
  cursor, pass = at[1] or '0', tonumber(at[2] or 1)
  -- No job is due that late: the clock was ahead when it was written.
  local late = redis.call('ZRANGE', KEYS[1], '(' .. (now + ARGV[4]), '+inf', 'BYSCORE', 'LIMIT', 0, 500)
  for _, id in ipairs(late) do
    redis.call('ZADD', KEYS[1], now, id)
  end
end

local pattern = string.gsub(prefix, '[%*%?%[%]%\\]', '\\%0') .. '*'
local found
cursor, found = unpack(redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', ARGV[2]))

-- Which of these ids are not in a sorted set.
local function missing(key, ids)
  local rest = {}
  if #ids > 0 then
    local scores = redis.call('ZMSCORE', key, unpack(ids))
    for i, id in ipairs(ids) do
      if not scores[i] then
        rest[#rest + 1] = id
      end
    end
  end
  return rest
end

local ids = {}
for _, key in ipairs(found) do
  local name = string.sub(key, #prefix + 1)
  if string.sub(name, 1, 5) == 'data:' then
    ids[#ids + 1] = string.sub(name, 6)
  elseif string.sub(name, 1, 4) == 'run:' and not only_count then
    redis.call('ZADD', KEYS[3], 'NX', now + ARGV[3], string.sub(name, 5))
  end
end
ids = missing(KEYS[1], missing(KEYS[2], ids))
local holder, lines = {}, {}
if #ids > 0 then
  holder = holders(KEYS[3], ids)
end
for _, id in ipairs(ids) do
  if not holder[id] then
    add(lines, group_of(redis.call('GETRANGE', prefix .. 'data:' .. id, 0, 511)), id)
  end
end

-- Short lists are read whole. A job that is missing in a long one is found once that is short.
local room, strays = 20000, {}
for _, group in ipairs(lines) do
  local long = redis.call('LLEN', line(group))
  room = room - long
  if room >= 0 then
    local there = {}
    for _, id in ipairs(redis.call('LRANGE', line(group), 0, -1)) do
      there[id] = true
    end
    for _, id in ipairs(lines[group]) do
      if not there[id] then
        strays[#strays + 1] = id
      end
    end
  end
  if not only_count then
    ensure_turn(group)
  end
end
if only_count then
  return { cursor, #strays, 0 }
end

local back, again, changes = {}, {}, {}
for _, id in ipairs(strays) do
  local seen = tonumber(redis.call('ZSCORE', KEYS[4], id) or pass)
  if seen < pass then
    back[#back + 1] = id
  else
    again[#again + 1] = id
    redis.call('ZADD', KEYS[4], 'NX', pass, id)
  end
end
if #back > 0 then
  local dead, waiting = {}, {}
  for _, id in ipairs(back) do
    local list = put_back(id, KEYS[2]) and dead or waiting
    list[#list + 1] = id
    changes[#changes + 1] = (list == dead and 'dead ' or 'waiting ') .. id
  end
  if #waiting > 0 then
    push_waiting_again(waiting, 'RPUSH')
    redis.call('PUBLISH', prefix .. 'wake', '1')
  end
  redis.call('ZREM', KEYS[4], unpack(back))
  publish(changes)
end
if cursor == '0' then
  -- Jobs that were not found again are gone, or in a list.
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. pass)
  pass = pass + 1
end
redis.call('HSET', steer, 'cursor', cursor, 'pass', pass)
return { cursor, #again, #back }
