-- promote: make due jobs claimable.
--
-- transitions:
--     scheduled --due--> queued
--     retrying --due--> queued

-- Promote up to `limit` due jobs of these queues, earliest first; return how many.
-- cost: one look-up per queue; per job its record and two index entries.
local function promote(from, limit, now)
  local found = {}
  for _, queue in ipairs(from) do
    local due = redis.call('ZRANGEBYSCORE', queue.due, '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, limit) -- Guard: only due jobs
    for place = 1, #due, 2 do
      found[#found + 1] = {id = full_id(queue, due[place]), due = tonumber(due[place + 1])}
    end
  end
  if #found == 0 then
    return 0
  end
  table.sort(found, function(a, b)
    return a.due < b.due or (a.due == b.due and is_before(a.id, b.id))
  end)
  local jobs = math.min(#found, limit)
  for place = 1, jobs do
    local job = load(found[place].id)
    leave(job)
    job.more.arrival = found[place].due
    enter(job, 'queued')
  end
  return jobs
end
