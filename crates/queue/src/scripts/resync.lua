-- Returns jobs that a worker holds without knowing it to the queue: those of a claim whose answer was lost.
--
-- KEYS 1 wait  2 lease
-- ARGV 1 prefix  2 worker token  3 '1' = the worker stops for good, then the ids that it knows
-- Returns how many jobs went back. Their attempt does not count: no handler has seen them.
local run = prefix .. 'run:' .. ARGV[2]
local known = {}
for i = 4, #ARGV do
  known[ARGV[i]] = true
end
-- A worker holds at most its concurrency and its prefetch, so this list is short.
local back = {}
local held = redis.call('HKEYS', run)
-- Newest first, each to the front: this keeps their order, as far as the hash has.
for i = #held, 1, -1 do
  local id = held[i]
  if not known[id] and #back < 1000 then
    back[#back + 1] = id
  end
end
if #back > 0 then
  redis.call('HDEL', run, unpack(back))
  push_waiting_again(back, 'LPUSH')
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
if ARGV[3] == '1' and redis.call('EXISTS', run) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('SREM', spared, ARGV[2])
end
return #back
