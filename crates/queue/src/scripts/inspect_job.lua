-- Reads all that is kept of one job, at one moment.
--
-- KEYS 1 sched  2 dead  3 lease
-- ARGV 1 prefix  2 job id
-- Returns {state, ms, worker token, data, reason, 1 = a passing cause, errors}; the state is '' where there is no such job,
-- and the ms are when it is due, died, or was claimed. Done jobs: see the list `done`.
local id = ARGV[2]
local data = redis.call('GET', prefix .. 'data:' .. id)
local cause = redis.call('HMGET', prefix .. 'job:' .. id, 'reason', 'transient')
local state, at, worker = '', '', ''
if data then
  state = 'waiting'
  local dead, due = redis.call('ZSCORE', KEYS[2], id), redis.call('ZSCORE', KEYS[1], id)
  if dead then
    state, at = 'dead', dead
  elseif due then
    state, at = 'scheduled', due
  else
    for _, token in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
      local claim = redis.call('HGET', prefix .. 'run:' .. token, id)
      if claim then
        state, worker, at = 'running', token, string.match(claim, ' (%d+)$') or ''
        break
      end
    end
  end
end
return { state, at, worker, data or '', cause[1] or '', cause[2] or '', redis.call('LRANGE', prefix .. 'errors:' .. id, 0, -1) }
