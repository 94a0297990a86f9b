-- cancel: end waiting jobs, and ask running ones to end.
-- cost: one look-up and one row per job, and what its children cost.

-- name: find
SELECT job.state, job.queue, job.has_children, lease.wake_token
FROM job
LEFT JOIN lease ON lease.no = job.lease
WHERE job.id = ?1

-- name: cancel
UPDATE job
SET state = 'cancelled',
  reason = 'by_operator',
  finished_at = ?2
WHERE id = ?1

-- name: request
UPDATE job
SET cancel_requested = 1
WHERE id = ?1
