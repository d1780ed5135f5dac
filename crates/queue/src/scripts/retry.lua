-- Lets dead jobs wait again from their first attempt, and scheduled ones at once. No dedupe key blocks this. Their errors are
-- kept. A job that is in no list, because Redis has lost it, waits again as well.
--
-- KEYS 1 sched  2 dead  3 lease
-- ARGV 1 prefix  2 'dead' | 'scheduled' = only such ones, '' = both; then job ids
-- Returns a word for each: 'retried', or what it is instead: 'waiting' | 'running' | 'dead' | 'scheduled' | 'unknown'
local only = ARGV[2]
-- `rest` holds those that are neither dead nor scheduled, `place` the place of each answer.
local answers, fresh, rest, place, changes = {}, {}, {}, {}, {}

for i = 3, #ARGV do
  local id, n = ARGV[i], i - 2
  local dead, due = redis.call('ZSCORE', KEYS[2], id), redis.call('ZSCORE', KEYS[1], id)
  local group
  if dead and only ~= 'scheduled' then
    redis.call('ZREM', KEYS[2], id)
    local poison = redis.call('HGET', prefix .. 'job:' .. id, 'reason') == 'poison'
    redis.call('UNLINK', prefix .. 'job:' .. id)
    local _
    _, _, group = update_counts(id, function() return '0', poison and '00' or '0' end)
    redis.call('PEXPIRE', prefix .. 'errors:' .. id, errors_life)
  elseif due and only ~= 'dead' then
    redis.call('ZREM', KEYS[1], id)
    local data = redis.call('GET', prefix .. 'data:' .. id)
    group = data and group_of(data)
  end
  if group then
    add(fresh, group, id)
    changes[#changes + 1] = 'waiting ' .. id
    answers[n] = 'retried'
  elseif redis.call('EXISTS', prefix .. 'data:' .. id) == 0 then
    answers[n] = 'unknown'
  elseif dead or due then
    answers[n] = dead and 'dead' or 'scheduled'
  else
    answers[n] = 'waiting'
    rest[#rest + 1], place[id] = id, n
  end
end
if #rest > 0 then
  local holder = holders(KEYS[3], rest)
  for _, id in ipairs(rest) do
    local stray, group = false, nil
    if holder[id] then
      answers[place[id]] = 'running'
    elseif only == '' then
      stray, group = is_stray(id, KEYS[1], KEYS[3])
    end
    if stray then
      redis.call('UNLINK', prefix .. 'job:' .. id)
      redis.call('HINCRBY', prefix .. 'stats', 'recovered', 1)
      add(fresh, group, id)
      changes[#changes + 1] = 'waiting ' .. id
      answers[place[id]] = 'retried'
    end
  end
end
if #fresh > 0 then
  push_waiting(fresh, 'RPUSH')
  redis.call('PUBLISH', prefix .. 'wake', '1')
  publish(changes)
end
return answers
