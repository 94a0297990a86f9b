-- promote: make due jobs claimable.
-- cost: one look-up per queue; per job one row and two index entries.

-- A claim promotes under its lease only, and a repeat of it does not.
-- name: promote
WITH clock AS MATERIALIZED (
  SELECT penstock.wall_ms() AS now
), asked AS MATERIALIZED (
  SELECT queue
  FROM unnest(%(queues)s::integer[]) AS named (queue)
  WHERE %(lease)s::uuid IS NULL
  OR (
    EXISTS (
      SELECT FROM penstock.lease
      WHERE id = %(lease)s AND NOT closed AND expires_lease_ms > (SELECT penstock.lease_ms())
    )
    AND NOT EXISTS (SELECT FROM penstock.job WHERE lease = %(lease)s AND fence = %(fence)s)
  )
), due AS MATERIALIZED (
  SELECT first.id, first.state
  FROM asked
  CROSS JOIN LATERAL (
    SELECT due_at, id, state
    FROM penstock.job
    WHERE queue = asked.queue
    AND state IN ('scheduled', 'retrying')
    AND due_at <= (SELECT now FROM clock) -- Guard: only due jobs
    ORDER BY due_at, id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS first
  ORDER BY first.due_at, first.id
  LIMIT %(limit)s
), promoted AS (
  UPDATE penstock.job
  SET state = 'queued',
    rank = ((10 - job.priority)::bigint << 48) | job.due_at
  FROM due
  WHERE job.id = due.id
  RETURNING job.queue, job.need, due.state AS before
), counted AS (
  INSERT INTO penstock.count_change (queue, state, jobs)
  SELECT moved.queue, change.state, change.jobs
  FROM (SELECT queue, before, count(*) AS jobs FROM promoted GROUP BY queue, before) AS moved
  CROSS JOIN LATERAL (VALUES (moved.before, -moved.jobs), ('queued', moved.jobs))
    AS change (state, jobs)
)
SELECT queue, need, count(*)
FROM promoted
GROUP BY queue, need

-- name: next_due_in
SELECT min(first.due_at) - (SELECT penstock.wall_ms())
FROM unnest(%(queues)s::integer[]) AS asked (queue)
CROSS JOIN LATERAL (
  SELECT due_at
  FROM penstock.job
  WHERE queue = asked.queue
  AND state IN ('scheduled', 'retrying')
  ORDER BY due_at, id
  LIMIT 1
) AS first
