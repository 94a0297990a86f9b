-- Parents and children: what the end of one job does to those that wait for it.
-- cost: one look-up and one row per edge below the job, as far as the failure reaches; all of it in
-- the transaction of the verb (family.py, Bound). Rows are locked in order of their ids.

-- name: children
SELECT child, ignore_failure
FROM penstock.edge
WHERE parent = ANY (%(parents)s::uuid[])
ORDER BY child

-- Parents are those named, or those that `complete` found just before in this transaction. The rows of
-- both are locked, so that none of their edges comes in later.
-- name: count_down
WITH clock AS MATERIALIZED (
  SELECT penstock.wall_ms() AS now
), gone AS (
  SELECT child, count(*) AS parents
  FROM penstock.edge
  WHERE parent = ANY (
    COALESCE(
      %(parents)s::uuid[], NULLIF(current_setting('penstock_settled.parents', TRUE), '')::uuid[]
    )
  )
  AND (ignore_failure OR %(parents)s::uuid[] IS NULL)
  GROUP BY child
), locked AS MATERIALIZED (
  SELECT job.id, gone.parents
  FROM gone
  JOIN penstock.job ON job.id = gone.child
  WHERE job.state = 'blocked' -- Guard: only blocked children
  ORDER BY job.id
  FOR NO KEY UPDATE OF job
), counted_down AS (
  UPDATE penstock.job
  SET parents_left = job.parents_left - locked.parents,
    rank = ((10 - job.priority)::bigint << 48) | clock.now,
    state = CASE
      WHEN job.parents_left > locked.parents THEN 'blocked' -- Guard: last parent
      WHEN job.due_at > clock.now THEN 'scheduled' -- Guard: not before it is due
      ELSE 'queued'
    END
  FROM locked, clock
  WHERE job.id = locked.id
  RETURNING job.queue, job.state, job.need
), counted AS (
  INSERT INTO penstock.count_change (queue, state, jobs)
  SELECT moved.queue, change.state, change.jobs
  FROM (
    SELECT queue, state, count(*) AS jobs
    FROM counted_down
    WHERE state <> 'blocked'
    GROUP BY queue, state
  ) AS moved
  CROSS JOIN LATERAL (VALUES ('blocked', -moved.jobs), (moved.state, moved.jobs))
    AS change (state, jobs)
)
SELECT queue, need, count(*)
FROM counted_down
WHERE state = 'queued'
GROUP BY queue, need

-- name: cancel_children
WITH locked AS MATERIALIZED (
  SELECT id
  FROM penstock.job
  WHERE id = ANY (%(children)s::uuid[])
  AND state = 'blocked' -- Guard: only blocked children
  ORDER BY id
  FOR NO KEY UPDATE
)
UPDATE penstock.job
SET state = 'cancelled',
  reason = 'parent_failed',
  finished_at = %(now)s
FROM locked
WHERE job.id = locked.id
RETURNING job.id, job.queue, job.has_children

-- All at once: a chain of a thousand jobs would take a thousand round trips. Only blocked jobs lead
-- further down.
-- name: cancel_below
WITH RECURSIVE below (id, state) AS (
  SELECT job.id, job.state
  FROM penstock.edge
  JOIN penstock.job ON job.id = edge.child
  WHERE edge.parent = ANY (%(parents)s::uuid[])
  AND NOT edge.ignore_failure
  UNION
  SELECT job.id, job.state
  FROM below
  JOIN penstock.edge ON edge.parent = below.id
  JOIN penstock.job ON job.id = edge.child
  WHERE below.state = 'blocked'
  AND NOT edge.ignore_failure
), locked AS MATERIALIZED (
  SELECT job.id
  FROM below
  JOIN penstock.job ON job.id = below.id
  WHERE job.state = 'blocked' -- Guard: only blocked children
  ORDER BY job.id
  FOR NO KEY UPDATE OF job
)
UPDATE penstock.job
SET state = 'cancelled',
  reason = 'parent_failed',
  finished_at = %(now)s
FROM locked
WHERE job.id = locked.id
RETURNING job.id, job.queue, job.has_children

-- name: hold_back
UPDATE penstock.job
SET parents_left = parents_left + 1
WHERE id = %(child)s
AND state = 'blocked' -- Guard: only blocked children

-- An edge is satisfied where its parent is forgotten, completed, or final and ignored; it is broken
-- where its parent failed and is not ignored. Race: the parents are locked, so that none ends between
-- this look and what is written because of it.
-- name: held_back_by
SELECT
  count(*),
  count(*) FILTER (WHERE state IN ('dead', 'cancelled', 'expired') AND NOT ignore_failure)
FROM (
  SELECT parent.state, edge.ignore_failure
  FROM penstock.edge
  JOIN penstock.job AS parent ON parent.id = edge.parent
  WHERE edge.child = %(child)s
  ORDER BY parent.id
  FOR SHARE OF parent
) AS upward
WHERE state <> 'completed'
AND NOT (ignore_failure AND state IN ('dead', 'cancelled', 'expired'))
