-- Reads which jobs have waited too long, why attempts failed, and which are dead. Reads a bounded number, changes nothing.
--
-- KEYS 1 wait  2 sched  3 lease  4 dead
-- ARGV 1 prefix  2 what is too long, in ms  3 most jobs looked at that live, and that are dead
-- Returns {ms now, overdue jobs, ms when the oldest job was enqueued ('' = none), 1 = not all were looked at, dead jobs},
-- {code, how many jobs failed with it, …}, {id, reason, …} of the newest dead ones.
local limit, room = tonumber(ARGV[2]), tonumber(ARGV[3])
local overdue, oldest, partial = 0, nil, 0
local codes, counts = {}, {}

local function look(id)
  room = room - 1
  local header = redis.call('GETRANGE', prefix .. 'data:' .. id, 0, 511)
  local enqueued, attempts = string.match(header, '^[^\n]* (%d+) (%d+) %d+\n')
  enqueued = tonumber(enqueued)
  if not enqueued then
    return
  end
  oldest = math.min(oldest or enqueued, enqueued)
  if now - enqueued > limit then
    overdue = overdue + 1
  end
  if attempts ~= '0' then
    local code = string.match(redis.call('LINDEX', prefix .. 'errors:' .. id, -1) or '', '"code":"([%l%d_]+)"')
    if code then
      if not counts[code] then
        codes[#codes + 1] = code
      end
      counts[code] = (counts[code] or 0) + 1
    end
  end
end

local function look_at(ids)
  for _, id in ipairs(ids) do
    if room <= 0 then
      partial = 1
      return
    end
    look(id)
  end
end

-- Jobs that are retried come first: their errors say why.
local portion, scheduled = math.floor(room / 4), redis.call('ZCARD', KEYS[2])
look_at(redis.call('ZRANGE', KEYS[2], 0, portion - 1))
if scheduled > portion then
  -- Jobs that have failed most often are due last.
  look_at(redis.call('ZRANGE', KEYS[2], math.max(portion, scheduled - portion), -1))
  partial = scheduled > 2 * portion and 1 or 0
end
for _, token in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  look_at(redis.call('HKEYS', prefix .. 'run:' .. token))
end
-- The front of each list has waited longest. Programs older than groups add to `wait` without a turn.
local groups = redis.call('ZRANGE', turn, 0, 199)
groups[#groups + 1] = '-'
local seen = {}
for _, group in ipairs(groups) do
  if not seen[group] then
    seen[group] = true
    if room > 0 then
      local last = math.max(1, math.floor(room / #groups))
      look_at(redis.call('LRANGE', line(group), 0, last - 1))
      if redis.call('LLEN', line(group)) > last then
        partial = 1
      end
    else
      partial = 1
    end
  end
end

local why = {}
for n, code in ipairs(codes) do
  why[2 * n - 1], why[2 * n] = code, tostring(counts[code])
end
local dead = {}
for n, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1, 'REV')) do
  dead[2 * n - 1], dead[2 * n] = id, redis.call('HGET', prefix .. 'job:' .. id, 'reason') or ''
end
return { { string.format('%.0f', now), tostring(overdue), oldest and string.format('%.0f', oldest) or '', tostring(partial),
  tostring(redis.call('ZCARD', KEYS[4])) }, why, dead }
