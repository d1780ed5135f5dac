-- Renews a worker's lease.
--
-- KEYS 1 lease
-- ARGV 1 prefix  2 worker token  3 lease in ms
-- Returns how many jobs the worker holds, or -1 if the lease is lost.
if has_lost_lease(KEYS[1], ARGV[2]) then
  return -1
end
-- A write that needs no memory, first: see claim.lua.
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
record_heartbeat(redis.call('HGET', steer, 'heard'), KEYS[1], ARGV[3])
redis.call('SREM', spared, ARGV[2])
return redis.call('HLEN', ARGV[1] .. 'run:' .. ARGV[2])
