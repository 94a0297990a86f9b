-- prune: forget final jobs past their retention, results past their ttl, spent keys and leases, and
-- what a release that knew no usages and capacities left of them.
-- cost: one look-up per queue and rule, and what forgetting costs.

-- name: oldest
SELECT id, state, queue, has_children, finished_at
FROM job
WHERE queue = ?1
AND state = ?2
AND finished_at IS NOT NULL
ORDER BY finished_at, id
LIMIT ?3

-- name: count
SELECT jobs
FROM counter
WHERE queue = ?1
AND state = ?2

-- name: drop_results
UPDATE job
SET result = NULL,
  result_dropped = 1,
  result_drop_at = NULL
WHERE no IN (
  SELECT no
  FROM job
  WHERE queue = ?1
  AND result_drop_at IS NOT NULL
  AND result_drop_at <= ?2 -- Guard: result ttl
  ORDER BY result_drop_at
  LIMIT ?3
)
RETURNING id

-- name: drop_keys
DELETE FROM key
WHERE (task, key) IN (
  SELECT task, key
  FROM key
  WHERE until <= ?1 -- Guard: key window
  ORDER BY until
  LIMIT ?2
)

-- name: done_leases
SELECT no
FROM lease
WHERE closed = 1 -- Guard: only closed leases
AND NOT EXISTS (SELECT 1 FROM job WHERE job.lease = lease.no) -- Guard: nothing runs under it
LIMIT ?1

-- name: forget_lease
DELETE FROM lease
WHERE no = ?1

-- name: forget_lease_queues
DELETE FROM lease_queue
WHERE lease = ?1

-- A release that knew no usages forgot their jobs without them. Ids are in order of time, so that no
-- job of one before the oldest is left.
-- name: drop_usages
DELETE FROM usage
WHERE (job, number) IN (
  SELECT job, number
  FROM usage
  WHERE job < (SELECT MIN(id) FROM job) -- Guard: of no job that is left
  ORDER BY job
  LIMIT ?1
)

-- name: drop_capacities
DELETE FROM capacity
WHERE NOT EXISTS (SELECT 1 FROM lease WHERE lease.id = capacity.lease) -- Guard: of no lease that is left
