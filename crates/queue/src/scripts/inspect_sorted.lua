-- Reads a page of a sorted set, from behind a place that need not be there any more.
--
-- KEYS 1 the set
-- ARGV 1 prefix  2 '1' = highest score first  3 score of the place ('' = the beginning)  4 member of the place  5 how many
-- Returns {member, score, …}. Finds the place by halving: the cost does not grow with what lies before it, nor with how
-- many members share its score.
local key, down, count = KEYS[1], ARGV[2] == '1', tonumber(ARGV[5])

-- As Redis orders members of one score: by bytes, whatever the locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- How many stand before the place, from below; and whether its member is there.
local function rank(score, member)
  local low, high = redis.call('ZCOUNT', key, '-inf', '(' .. score), redis.call('ZCOUNT', key, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if before(redis.call('ZRANGE', key, middle, middle)[1], member) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low, redis.call('ZRANGE', key, low, low)[1] == member
end

local from = 0
if ARGV[3] ~= '' then
  local below, there = rank(ARGV[3], ARGV[4])
  if down then
    from = redis.call('ZCARD', key) - below
  else
    from = below + (there and 1 or 0)
  end
end
if down then
  return redis.call('ZRANGE', key, from, from + count - 1, 'REV', 'WITHSCORES')
end
return redis.call('ZRANGE', key, from, from + count - 1, 'WITHSCORES')
