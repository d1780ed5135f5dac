-- Stands before each script: ARGV 1 is the prefix of the queue's keys; time is Redis' own, in ms since 1970.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A dead job that runs again takes its errors along: they go after 30 days unless it fails anew. In ms.
local errors_life = 2592000000

-- Writes a job's counts into the header of its data. Answers its new counts, or nothing where the job is gone. A header
-- that cannot be read stays as it is: its job is still somebody's, and must end as a dead letter.
local function recount(id, count)
  local key = prefix .. 'data:' .. id
  local data = redis.call('GET', key)
  if not data then
    return
  end
  local eol = string.find(data, '\n', 1, true) or 1
  local fixed, attempts, crashes = string.match(string.sub(data, 1, eol - 1), '^(%S+ %d+) (%d+) (%d+)$')
  if not fixed then
    return count(0, 0)
  end
  attempts, crashes = count(tonumber(attempts), tonumber(crashes))
  redis.call('SET', key, fixed .. ' ' .. attempts .. ' ' .. crashes .. string.sub(data, eol))
  return attempts, crashes
end

