-- prune: forget final jobs past their retention, results past their ttl, spent keys and leases, and
-- what a release that knew no usages and capacities left of them.
-- cost: one look-up per queue and rule, and what forgetting costs; one row per change of a counter.

-- name: oldest
SELECT id, state, queue, has_children, finished_at
FROM penstock.job
WHERE queue = %(queue)s
AND state = %(state)s
AND finished_at IS NOT NULL
ORDER BY finished_at, id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: count
SELECT
  COALESCE((SELECT jobs FROM penstock.counter WHERE queue = %(queue)s AND state = %(state)s), 0)
  + COALESCE((
    SELECT sum(jobs)::bigint FROM penstock.count_change WHERE queue = %(queue)s AND state = %(state)s
  ), 0)

-- name: drop_results
UPDATE penstock.job
SET result = NULL,
  result_dropped = TRUE,
  result_drop_at = NULL
WHERE id IN (
  SELECT id
  FROM penstock.job
  WHERE queue = %(queue)s
  AND result_drop_at IS NOT NULL
  AND result_drop_at <= (SELECT penstock.wall_ms()) -- Guard: result ttl
  ORDER BY result_drop_at
  LIMIT %(limit)s
  FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id

-- name: drop_keys
DELETE FROM penstock.key
WHERE (task, key) IN (
  SELECT task, key
  FROM penstock.key
  WHERE until <= (SELECT penstock.wall_ms()) -- Guard: key window
  ORDER BY until
  LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED
)

-- name: drop_leases
DELETE FROM penstock.lease
WHERE id IN (
  SELECT id
  FROM penstock.lease
  WHERE closed -- Guard: only closed leases
  AND NOT EXISTS (SELECT FROM penstock.job WHERE job.lease = lease.id) -- Guard: nothing runs under it
  LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED
)

-- name: drop_capacities
DELETE FROM penstock.capacity
WHERE NOT EXISTS (SELECT FROM penstock.lease WHERE lease.id = capacity.lease) -- Guard: of no lease that is left

-- A release that knew no usages forgot their jobs without them. Ids are in order of time, so that no
-- job of one before the oldest is left.
-- name: drop_usages
DELETE FROM penstock.usage
WHERE (job, number) IN (
  SELECT job, number
  FROM penstock.usage
  WHERE job < (SELECT id FROM penstock.job ORDER BY id LIMIT 1) -- Guard: of no job that is left
  ORDER BY job, number
  LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED
)

-- Whoever reads meanwhile sees all changes in the one place or in the other, never in both.
-- name: fold_counts
WITH change AS (
  DELETE FROM penstock.count_change
  WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM penstock.count_change LIMIT %(changes_max)s FOR UPDATE SKIP LOCKED
  ))
  RETURNING queue, state, jobs
)
INSERT INTO penstock.counter AS folded (queue, state, jobs)
SELECT queue, state, sum(jobs)
FROM change
GROUP BY queue, state
ORDER BY queue, state
ON CONFLICT (queue, state) DO UPDATE
SET jobs = folded.jobs + excluded.jobs
