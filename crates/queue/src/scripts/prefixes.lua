-- Finds the queues in this Redis, of any prefix, in a portion of all keys. Reads only.
--
-- KEYS 1 any key of this queue, for the node
-- ARGV 1 prefix  2 the cursor  3 how many keys
-- Returns {the next cursor, prefix, name, prefix, name, …}: of those in which something waits.
local cursor, keys = unpack(redis.call('SCAN', ARGV[2], 'MATCH', '{*:*}:*', 'COUNT', ARGV[3]))
local answer = { cursor }
for _, key in ipairs(keys) do
  local first, name, what = string.match(key, '^{([%w_-]+):([%w_-]+)}:(%l+)$')
  if what == 'turn' or what == 'sched' or what == 'wait' then
    answer[#answer + 1], answer[#answer + 2] = first, name
  end
end
return answer
