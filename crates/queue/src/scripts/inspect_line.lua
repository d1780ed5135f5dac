-- Reads a page of a list to which others add at the back and take from the front, from behind an entry.
--
-- KEYS 1 the list
-- ARGV 1 prefix  2 '1' = from the back  3 where the entry was, counted from that end  4 the entry ('' = the beginning)
--      5 how many
-- Answers {where the first of these is, entry, entry, …}.
--
-- The entry tells the place, and where it was is only where to look first. If it is gone it was taken from the front, and so
-- was all that stood before it: seen from the front the page begins anew, seen from the back there is nothing left.
local key, back, at, entry, count = KEYS[1], ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local from = 0
if entry ~= '' then
  if redis.call('LINDEX', key, back and -at - 1 or at) == entry then
    from = at + 1
  elseif back then
    local found = redis.call('LPOS', key, entry, 'RANK', -1)
    if not found then
      return { 0 }
    end
    from = redis.call('LLEN', key) - found
  else
    -- What was taken from the front since has moved it there, as a rule by little.
    local near, found = math.max(0, at - 2000), nil
    for i, one in ipairs(redis.call('LRANGE', key, near, at)) do
      if one == entry then
        found = near + i - 1
        break
      end
    end
    found = found or redis.call('LPOS', key, entry, 'MAXLEN', at + 1000)
    from = found and found + 1 or 0
  end
end
local answer = { from }
if back then
  local page = redis.call('LRANGE', key, -from - count, -from - 1)
  for i = #page, 1, -1 do
    answer[#answer + 1] = page[i]
  end
else
  for _, one in ipairs(redis.call('LRANGE', key, from, from + count - 1)) do
    answer[#answer + 1] = one
  end
end
return answer
