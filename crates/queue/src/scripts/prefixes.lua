-- Finds the queues that lie in this Redis, whatever their prefix, in a portion of all keys. Reads only.
--
-- KEYS 1 any of this queue's: it tells the node
-- ARGV 1 prefix  2 where to go on  3 how many keys
-- Answers {where to go on, prefix, name, prefix, name, …}: of those in which something waits.
local cursor, keys = unpack(redis.call('SCAN', ARGV[2], 'MATCH', '{*:*}:*', 'COUNT', ARGV[3]))
local answer = { cursor }
for _, key in ipairs(keys) do
  local first, name, what = string.match(key, '^{([%w_-]+):([%w_-]+)}:(%l+)$')
  if what == 'turn' or what == 'sched' or what == 'wait' then
    answer[#answer + 1], answer[#answer + 2] = first, name
  end
end
return answer
