-- cancel: end waiting jobs, and ask running ones to end.
--
-- transitions:
--     blocked --cancel--> cancelled
--     scheduled --cancel--> cancelled
--     queued --cancel--> cancelled
--     retrying --cancel--> cancelled
--     running --cancel--> running
--     blocked --unblock--> queued
--     blocked --unblock--> scheduled
--     blocked --parent_failed--> cancelled
--
-- ARGV: ids. Answer: one word each.

local now = wall_ms()
local answers = {}

local function cancel(id)
  local job = load(id)
  if not job then
    return 'not_found'
  end
  if job.done then -- Guard: final jobs stay as they are
    return 'too_late'
  end
  if job.run then -- Guard: a running job is only asked
    local lease = lease_key(lease_of(job.run))
    job.more.n = job.more.n or attempt_of(job.run).n
    job.more.cancel = true
    keep_more(job.queue, job.short, job.more)
    redis.call('HSET', lease .. ':cancels', id, fence_of(job.run))
    local token = redis.call('HGET', lease, 'token')
    if token and token ~= '' then
      wake(token)
    end
    return 'requested'
  end
  finish(job, 'cancelled', 'by_operator', now, '')
  return 'cancelled'
end

for place, id in ipairs(ARGV) do
  answers[place] = cancel(id)
end
flush()
return answers
