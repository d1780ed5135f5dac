-- Gives back what a worker holds without knowing: jobs of a claim whose answer was lost on the way.
--
-- KEYS 1 wait  2 lease
-- ARGV 1 prefix  2 worker token  3 '1' = the worker leaves for good, then the ids that it knows of
-- Answers how many jobs went back, their attempt uncounted: no handler has seen them.
local run = prefix .. 'run:' .. ARGV[2]
local known = {}
for i = 4, #ARGV do
  known[ARGV[i]] = true
end
-- A worker holds at most its concurrency and its prefetch, so this list is short.
local back = {}
local held = redis.call('HKEYS', run)
-- Newest first, each to the front: the order stays, as far as the hash has kept it.
for i = #held, 1, -1 do
  local id = held[i]
  if not known[id] and #back < 1000 then
    back[#back + 1] = id
  end
end
if #back > 0 then
  redis.call('HDEL', run, unpack(back))
  wait_again(back, 'LPUSH')
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
if ARGV[3] == '1' and redis.call('EXISTS', run) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('SREM', spared, ARGV[2])
end
return #back
