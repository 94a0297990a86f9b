-- expire: end jobs that waited past their deadline.
-- cost: one look-up per queue; one row per job, and what its children cost.

-- name: late
SELECT first.expires_at, first.id
FROM unnest(%(queues)s::integer[]) AS asked (queue)
CROSS JOIN LATERAL (
  SELECT expires_at, id
  FROM penstock.job
  WHERE queue = asked.queue
  AND expires_at IS NOT NULL
  AND finished_at IS NULL
  AND expires_at <= %(now)s -- Guard: past its deadline
  AND lease IS NULL -- Guard: a running job does not expire
  ORDER BY expires_at, id
  LIMIT %(limit)s
  FOR NO KEY UPDATE SKIP LOCKED
) AS first
ORDER BY first.expires_at, first.id
LIMIT %(limit)s

-- name: waiting
SELECT state, queue, has_children
FROM penstock.job
WHERE id = %(id)s
AND finished_at IS NULL -- Guard: not cancelled meanwhile by the end of its parent

-- name: expire
UPDATE penstock.job
SET state = 'expired',
  reason = 'deadline',
  finished_at = %(now)s
WHERE id = %(id)s
