-- Reads a page of a list of waiting jobs, from behind an id. Others add at the back and take from the front.
--
-- KEYS 1 the list
-- ARGV 1 prefix  2 where the id was  3 the id ('' = the beginning)  4 how many
-- Returns {where the first of these is, id, id, …}.
--
-- The id tells the place, and where it was is only where to look first. If it is gone, it was taken from the front, and so
-- was all that stood before it: the page begins at the front.
local key, at, id, count = KEYS[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local from = 0
if id ~= '' then
  if redis.call('LINDEX', key, at) == id then
    from = at + 1
  else
    -- What was taken from the front since has moved it there, as a rule by little.
    local near, found = math.max(0, at - 2000), nil
    for i, one in ipairs(redis.call('LRANGE', key, near, at)) do
      if one == id then
        found = near + i - 1
        break
      end
    end
    found = found or redis.call('LPOS', key, id, 'MAXLEN', at + 1000)
    from = found and found + 1 or 0
  end
end
local answer = redis.call('LRANGE', key, from, from + count - 1)
table.insert(answer, 1, from)
return answer
