-- Removes jobs for good, with all that is kept of them. A worker that runs one is not stopped, but its attempt no longer
-- changes anything.
--
-- KEYS 1 sched  2 dead  3 lease  4 stats
-- ARGV 1 prefix  2 a state = only such ones, '' = all  3 most places of waiting lines looked at; then job ids
-- Returns a word for each: 'discarded', 'unknown', or its state where that is another. Stops early, with fewer
-- answers, when it has searched enough: call again for the rest.
local only, budget = ARGV[2], tonumber(ARGV[3])
local answers, gone, over, named, changes = {}, {}, 0, {}, {}

local ids = {}
for i = 4, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
local holder = holders(KEYS[3], ids)

for n, id in ipairs(ids) do
  local data = redis.call('GETRANGE', prefix .. 'data:' .. id, 0, 511)
  local state = 'waiting'
  if redis.call('ZSCORE', KEYS[2], id) then
    state = 'dead'
  elseif redis.call('ZSCORE', KEYS[1], id) then
    state = 'scheduled'
  elseif holder[id] then
    state = 'running'
  end
  if named[id] or data == '' and redis.call('EXISTS', prefix .. 'data:' .. id) == 0 then
    answers[n] = 'unknown'
  elseif only ~= '' and only ~= state then
    answers[n] = state
  else
    if state == 'dead' then
      redis.call('ZREM', KEYS[2], id)
    elseif state == 'scheduled' then
      redis.call('ZREM', KEYS[1], id)
    elseif state == 'running' then
      redis.call('HDEL', prefix .. 'run:' .. holder[id], id)
      holder[id] = nil
    else
      local group = group_of(data)
      local list = line(group)
      -- The end of the list is searched first: jobs are mostly discarded soon after they were enqueued.
      local place = redis.call('LPOS', list, id, 'RANK', -1, 'MAXLEN', 10000) or redis.call('LPOS', list, id)
      if place then
        local behind = redis.call('LLEN', list) - place
        redis.call('LREM', list, behind < place and -1 or 1, id)
        budget = budget - math.max(place, 1)
      end
      if redis.call('EXISTS', list) == 0 then
        -- Else the next job of the group would wake no worker.
        redis.call('ZREM', turn, group)
      end
    end
    for _, name in ipairs({ 'data:', 'job:', 'errors:', 'left:' }) do
      gone[#gone + 1] = prefix .. name .. id
    end
    over = over + 1
    changes[over] = 'discarded ' .. id
    named[id] = true
    answers[n] = 'discarded'
    if budget <= 0 then
      break
    end
  end
end
if over > 0 then
  redis.call('UNLINK', unpack(gone))
  redis.call('HINCRBY', KEYS[4], 'discarded', over)
  publish(changes)
end
return answers
