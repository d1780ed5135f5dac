-- Accepts a batch of items, each atomically: seen once, enqueued once, logged.
--
-- KEYS 1 wait (its slot)  2 sched  3 dead  4 log  5 stats
-- ARGV 1 prefix  2 longest log (entries), then eleven for each item:
--      once key ('' = none), its life in ms, 1 = first hand (2 = second), job id ('' = no job), 'kind/version group trace',
--      group, payload, delay in ms, 1 = run again a job that is dead for a passing cause (reasons, by commas: or for
--      these; * for any; 0 = not), log header ('' = no entry), log body
-- Answers a word for each item: new | seen | live | dead | logged. All in one string: an array costs an allocation for each.
--
-- A once key holds by which hand it was taken. The first is first whenever it comes: what was known by hearsay is then known
-- from the source. (Older programs hold and write 1 for both.)
--
-- A job's id is its dedupe key: while its data is there and it is not dead, it is waiting, scheduled or running. So a key
-- whose job is missing cannot exist.
local header = ' ' .. string.format('%.0f', now) .. ' 0 0\n'
local answers, fresh, scheduled, logged = {}, {}, false, false

local function accept(id, value, group, delay, revive)
  local data = prefix .. 'data:' .. id
  -- What is new has no end to be taken off: KEEPTTL spares Redis the search for it, a tenth of the call.
  if not redis.call('SET', data, value, 'NX', 'KEEPTTL') then
    if not redis.call('ZSCORE', KEYS[3], id) then
      return 'live'
    end
    local cause = redis.call('HMGET', prefix .. 'job:' .. id, 'transient', 'reason')
    local is_named = string.find(',' .. revive .. ',', ',' .. (cause[2] or '') .. ',', 1, true)
    if revive == '0' or revive ~= '*' and cause[1] ~= '1' and not is_named then
      return 'dead'
    end
    redis.call('ZREM', KEYS[3], id)
    redis.call('UNLINK', prefix .. 'job:' .. id)
    redis.call('PEXPIRE', prefix .. 'errors:' .. id, errors_life)
    redis.call('SET', data, value)
  end
  if delay ~= '0' then
    redis.call('ZADD', KEYS[2], now + delay, id)
    scheduled = true
  else
    add(fresh, group, id)
  end
  return 'new'
end

for i = 3, #ARGV, 11 do
  local once, hand, id, entry = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 9]
  local answer = 'logged'
  if once ~= '' and not redis.call('SET', prefix .. once, hand, 'NX', 'PX', ARGV[i + 1]) then
    answer = 'seen'
    if hand == '1' and redis.call('GET', prefix .. once) == '2' then
      redis.call('SET', prefix .. once, hand, 'XX', 'KEEPTTL')
      -- What hearsay could not make out, such as whose it is, the source may tell.
      if id ~= '' and redis.call('ZSCORE', KEYS[3], id) then
        answer = accept(id, ARGV[i + 4] .. header .. ARGV[i + 6], ARGV[i + 5], ARGV[i + 7], ARGV[i + 8])
      end
    end
  else
    if id ~= '' then
      answer = accept(id, ARGV[i + 4] .. header .. ARGV[i + 6], ARGV[i + 5], ARGV[i + 7], ARGV[i + 8])
    end
    if entry ~= '' then
      redis.call('XADD', KEYS[4], '*', 'h', entry, 'o', answer, 'b', ARGV[i + 10])
      logged = true
    end
  end
  answers[#answers + 1] = answer
end

-- The store has been away for long: the log must not take the memory that purchases need.
if logged and redis.call('XLEN', KEYS[4]) > tonumber(ARGV[2]) then
  redis.call('HINCRBY', KEYS[5], 'trimmed_log', redis.call('XTRIM', KEYS[4], 'MAXLEN', '~', ARGV[2]))
end
-- Whoever sleeps found nothing to take, so where something waited already nobody is asleep beside it.
if wait_in(fresh, 'RPUSH') or scheduled then
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return table.concat(answers, ' ')
