-- Accepts a batch of items, each atomically: deduplicated, enqueued and logged. Next: claim.lua leases a job to a worker,
-- which runs the handler of its kind (workers/).
--
-- KEYS 1 wait (its slot)  2 sched  3 dead  4 log  5 stats
-- ARGV 1 prefix  2 longest log (entries), then eleven for each item:
--      dedupe key ('' = none), its life in ms, 1 = delivered by its source (2 = polled), job id ('' = no job),
--      'kind/version group trace', group, payload, delay in ms, 1 = run again a job that is dead for a passing cause (reasons, by commas: or for
--      these; * for any; 0 = not), log header ('' = no entry), log body
-- Returns a word for each item: new | seen | live | dead | logged. All in one string: an array costs an allocation for each.
--
-- A dedupe key holds how its event came. A delivery after a poll replaces it. (Older programs write 1 for both.)
--
-- A job's id deduplicates it, too: while its data exists and it is not dead, it is waiting, scheduled or running. If it is in
-- no list (Redis has lost one), it is put back.
local stamp = ' ' .. string.format('%.0f', now)
local header = stamp .. ' 0 0\n'
local answers, fresh, scheduled, logged = {}, {}, false, false
local accepted = {}

-- Whether a dead job runs again, by its cause: one without a known cause does, and poison once a day.
local function is_to_run_again(id, transient, reason, revive)
  if revive == '0' or revive == '*' then
    return revive == '*'
  elseif reason and string.find(',' .. revive .. ',', ',' .. reason .. ',', 1, true) then
    return true
  elseif reason == 'poison' then
    return redis.call('SET', prefix .. 'tried:' .. id, 1, 'NX', 'PX', 86400000)
  end
  return (transient or '1') == '1'
end

local function accept(id, words, payload, group, delay, revive)
  local data = prefix .. 'data:' .. id
  -- A new key has no expiry. KEEPTTL spares Redis the search for one, a tenth of the call.
  if not redis.call('SET', data, words .. header .. payload, 'NX', 'KEEPTTL') then
    if not redis.call('ZSCORE', KEYS[3], id) then
      local stray, place = false, nil
      if not accepted[id] then
        stray, place = is_stray(id, KEYS[2], prefix .. 'lease')
      end
      if not stray then
        return 'live'
      elseif not put_back(id, KEYS[3]) then
        accepted[id] = true
        add(fresh, place, id)
        return 'live'
      end
    end
    local transient, reason = unpack(redis.call('HMGET', prefix .. 'job:' .. id, 'transient', 'reason'))
    if not is_to_run_again(id, transient, reason, revive) then
      return 'dead'
    end
    redis.call('ZREM', KEYS[3], id)
    redis.call('UNLINK', prefix .. 'job:' .. id)
    redis.call('PEXPIRE', prefix .. 'errors:' .. id, errors_life)
    if reason == 'poison' then
      group = '!'
    end
    redis.call('SET', data, words .. (group == '!' and stamp .. ' 0 00\n' or header) .. payload)
  end
  accepted[id] = true
  if delay ~= '0' then
    redis.call('ZADD', KEYS[2], now + delay, id)
    scheduled = true
  else
    add(fresh, group, id)
  end
  return 'new'
end

for i = 3, #ARGV, 11 do
  local dedupe, source, id, entry = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 9]
  local answer = 'logged'
  if dedupe ~= '' and not redis.call('SET', prefix .. dedupe, source, 'NX', 'PX', ARGV[i + 1]) then
    answer = 'seen'
    if source == '1' and redis.call('GET', prefix .. dedupe) == '2' then
      redis.call('SET', prefix .. dedupe, source, 'XX', 'KEEPTTL')
      -- The source may say what the poll did not, such as whose purchase it is.
      if id ~= '' and redis.call('ZSCORE', KEYS[3], id) then
        answer = accept(id, ARGV[i + 4], ARGV[i + 6], ARGV[i + 5], ARGV[i + 7], ARGV[i + 8])
      end
    end
  else
    if id ~= '' then
      answer = accept(id, ARGV[i + 4], ARGV[i + 6], ARGV[i + 5], ARGV[i + 7], ARGV[i + 8])
    end
    if entry ~= '' then
      redis.call('XADD', KEYS[4], '*', 'h', entry, 'o', answer, 'b', ARGV[i + 10])
      logged = true
    end
  end
  answers[#answers + 1] = answer
end

-- If the store is away for long, the log must not take the memory that purchases need.
if logged and redis.call('XLEN', KEYS[4]) > tonumber(ARGV[2]) then
  redis.call('HINCRBY', KEYS[5], 'trimmed_log', redis.call('XTRIM', KEYS[4], 'MAXLEN', '~', ARGV[2]))
end
-- A worker sleeps only if nothing waits, so a wake-up is needed only for the first waiting job.
if push_waiting(fresh, 'RPUSH') or scheduled then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return table.concat(answers, ' ')
