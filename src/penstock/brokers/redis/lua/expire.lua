-- expire: end jobs that waited past their deadline.
--
-- transitions:
--     blocked --expire--> expired
--     scheduled --expire--> expired
--     queued --expire--> expired
--     retrying --expire--> expired
--     blocked --unblock--> queued
--     blocked --unblock--> scheduled
--     blocked --parent_failed--> cancelled
--
-- ARGV: limit, names. Answer: how many. Running jobs stay in the index and are skipped.

local now, limit = wall_ms(), number()
local late = {}
while at < #ARGV do
  local queue = queue_named(arg())
  local from = 0
  local found = 0
  while found < limit do
    local entries = redis.call('ZRANGEBYSCORE', queue.deadline, '-inf', int(now), 'WITHSCORES', 'LIMIT', from, limit) -- Guard: past its deadline
    from = from + limit
    for place = 1, #entries, 2 do
      if redis.call('HEXISTS', queue.run, entries[place]) == 0 then -- Guard: a running job does not expire
        late[#late + 1] = {id = full_id(queue, entries[place]), at = tonumber(entries[place + 1])}
        found = found + 1
      end
    end
    if #entries < 2 * limit then
      break
    end
  end
end
table.sort(late, function(a, b)
  return a.at < b.at or (a.at == b.at and is_before(a.id, b.id))
end)
local expired = 0
for place = 1, math.min(#late, limit) do
  local job = load(late[place].id)
  if not job.done then -- Guard: not cancelled meanwhile by the end of its parent
    finish(job, 'expired', 'deadline', now, '')
    expired = expired + 1
  end
end
flush()
return expired
