-- Runs dead jobs again from their first attempt: an act of its own, which no dedupe key blocks. Their errors stay told.
--
-- KEYS 1 wait  2 dead
-- ARGV 1 prefix, then job ids
-- Answers 1 for each job that now waits, 0 for one that is not dead.
local answers, fresh = {}, {}

for i = 2, #ARGV do
  local id = ARGV[i]
  answers[i - 1] = 0
  local back, _, group
  if redis.call('ZREM', KEYS[2], id) == 1 then
    back, _, group = recount(id, function() return 0, 0 end)
  end
  if back then
    redis.call('UNLINK', prefix .. 'job:' .. id)
    redis.call('PEXPIRE', prefix .. 'errors:' .. id, errors_life)
    add(fresh, group, id)
    answers[i - 1] = 1
  end
end
if #fresh > 0 then
  wait_in(fresh, 'RPUSH')
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return answers
