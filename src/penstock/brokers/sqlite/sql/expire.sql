-- expire: end jobs that waited past their deadline.
-- cost: one look-up per queue; one row per job, and what its children cost.

-- name: late
SELECT expires_at, id, queue, state
FROM job
WHERE queue = ?1
AND state IN ('blocked', 'scheduled', 'queued', 'retrying')
AND expires_at IS NOT NULL
AND expires_at <= ?2 -- Guard: past its deadline
ORDER BY expires_at, id
LIMIT ?3

-- A job of the same batch may have been cancelled meanwhile, by the end of its parent.
-- name: expire
UPDATE job
SET state = 'expired',
  reason = 'deadline',
  finished_at = ?2
WHERE id = ?1
AND state IN ('blocked', 'scheduled', 'queued', 'retrying')
RETURNING has_children
