-- peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.

-- name: peek
SELECT
  id, state, reason, result, result_dropped,
  COALESCE(error, CASE WHEN claim_number > 1 THEN (
    SELECT attempt.error
    FROM penstock.attempt
    WHERE attempt.job = job.id
    AND attempt.error IS NOT NULL
    ORDER BY attempt.number DESC
    LIMIT 1
  ) END)
FROM penstock.job
WHERE id = ANY (%(ids)s::uuid[])

-- name: jobs
SELECT
  id, (SELECT queue.name FROM penstock.queue WHERE queue.tag = job.queue), spec, state,
  enqueued_at, due_at, expires_at, finished_at, reason, claim_number, charges, parents_left,
  cancel_requested, worker, pid, claimed_at, ended_at, outcome, error, result, result_dropped
FROM penstock.job
WHERE id = ANY (%(ids)s::uuid[])
ORDER BY id DESC

-- name: attempts
SELECT job, number, worker, pid, started_at, ended_at, outcome, error
FROM penstock.attempt
WHERE job = ANY (%(ids)s::uuid[])
ORDER BY job, number

-- name: usages
SELECT job, number, usage
FROM penstock.usage
WHERE job = ANY (%(ids)s::uuid[])

-- name: parents
SELECT child, parent, ignore_failure
FROM penstock.edge
WHERE child = ANY (%(ids)s::uuid[])
ORDER BY child, place

-- name: notes
SELECT job, progress, checkpoint
FROM penstock.note
WHERE job = ANY (%(ids)s::uuid[])

-- name: logs
SELECT job, line
FROM penstock.log
WHERE job = ANY (%(ids)s::uuid[])
ORDER BY job, number

-- name: counts
SELECT queue.tag, queue.name, queue.paused, counted.state, COALESCE(sum(counted.jobs), 0)::bigint
FROM penstock.queue
LEFT JOIN (
  SELECT queue, state, jobs FROM penstock.counter
  UNION ALL
  SELECT queue, state, jobs FROM penstock.count_change
) AS counted ON counted.queue = queue.tag
GROUP BY queue.tag, counted.state
ORDER BY queue.name COLLATE "C"

-- The oldest of a ready set is the head of one of its priority bands.
-- name: oldest
WITH RECURSIVE found AS (
  SELECT queue.tag, (
    SELECT job.need
    FROM penstock.job
    WHERE job.queue = queue.tag
    AND job.state = 'queued'
    ORDER BY job.need
    LIMIT 1
  ) AS need
  FROM penstock.queue
  UNION ALL
  SELECT found.tag, (
    SELECT job.need
    FROM penstock.job
    WHERE job.queue = found.tag
    AND job.state = 'queued'
    AND job.need > found.need
    ORDER BY job.need
    LIMIT 1
  )
  FROM found
  WHERE found.need IS NOT NULL
)
SELECT found.tag, (SELECT penstock.wall_ms()) - min(head.rank - (band::bigint << 48))
FROM found
CROSS JOIN generate_series(0, 10) AS band
CROSS JOIN LATERAL (
  SELECT rank
  FROM penstock.job
  WHERE queue = found.tag
  AND need = found.need
  AND state = 'queued'
  AND rank >= band::bigint << 48
  AND rank < (band + 1)::bigint << 48
  ORDER BY rank
  LIMIT 1
) AS head
GROUP BY found.tag

-- name: needs
WITH RECURSIVE found AS (
  SELECT asked.queue, (
    SELECT job.need
    FROM penstock.job
    WHERE job.queue = asked.queue
    AND job.state = 'queued'
    ORDER BY job.need
    LIMIT 1
  ) AS need
  FROM unnest(%(queues)s::integer[]) AS asked (queue)
  UNION ALL
  SELECT found.queue, (
    SELECT job.need
    FROM penstock.job
    WHERE job.queue = found.queue
    AND job.state = 'queued'
    AND job.need > found.need
    ORDER BY job.need
    LIMIT 1
  )
  FROM found
  WHERE found.need IS NOT NULL
)
SELECT queue, need
FROM found
WHERE need IS NOT NULL
ORDER BY queue, need

-- name: leases
SELECT
  id, ARRAY(
    SELECT queue.name
    FROM unnest(lease.queues) WITH ORDINALITY AS place (tag, number)
    JOIN penstock.queue ON queue.tag = place.tag
    ORDER BY place.number
  ),
  worker, host, owner_boot_id, pid_namespace, pid, started_ticks, wake_token,
  expires_lease_ms - (SELECT penstock.lease_ms()),
  (SELECT count(*) FROM penstock.job WHERE job.lease = lease.id),
  (SELECT capacity.capacity FROM penstock.capacity WHERE capacity.lease = lease.id)
FROM penstock.lease
WHERE NOT closed
ORDER BY id

-- name: listing
SELECT id
FROM penstock.job
WHERE {where}
ORDER BY id DESC
LIMIT %(limit)s
