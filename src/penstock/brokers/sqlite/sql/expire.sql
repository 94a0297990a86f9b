-- expire: end jobs that waited past their deadline.
-- cost: one look-up per queue; one row per job, and what its children cost.

-- name: late
SELECT expires_at, id
FROM job
WHERE queue = ?1
AND expires_at IS NOT NULL
AND finished_at IS NULL
AND expires_at <= ?2 -- Guard: past its deadline
AND lease IS NULL -- Guard: a running job does not expire
ORDER BY expires_at, id
LIMIT ?3

-- name: waiting
SELECT state, queue, has_children
FROM job
WHERE id = ?1
AND finished_at IS NULL -- Guard: not cancelled meanwhile by the end of its parent

-- name: expire
UPDATE job
SET state = 'expired',
  reason = 'deadline',
  finished_at = ?2
WHERE id = ?1
