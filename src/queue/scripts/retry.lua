-- Runs dead or done jobs again from their first attempt: an act of its own, which no dedupe key blocks.
--
-- KEYS 1 wait  2 done  3 dead
-- ARGV 1 prefix, then job ids
-- Answers 1 for each job that now waits, 0 for one that is not there, or is waiting, scheduled or running anyway.
local prefix, answers, fresh = ARGV[1], {}, {}
for i = 2, #ARGV do
  local id = ARGV[i]
  if redis.call('ZREM', KEYS[3], id) + redis.call('ZREM', KEYS[2], id) > 0 then
    redis.call('UNLINK', prefix .. 'job:' .. id)
    fresh[#fresh + 1] = id
    answers[i - 1] = 1
  else
    answers[i - 1] = 0
  end
end
if #fresh > 0 then
  redis.call('RPUSH', KEYS[1], unpack(fresh))
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return answers
