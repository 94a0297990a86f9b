-- peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.

-- name: peek
SELECT
  id, state, reason, result, result_dropped,
  COALESCE(error, (
    SELECT attempt.error
    FROM attempt
    WHERE attempt.job = job.id
    AND attempt.error IS NOT NULL
    ORDER BY attempt.number DESC
    LIMIT 1
  ))
FROM job
WHERE id = ?1

-- name: job
SELECT
  id, (SELECT queue.name FROM queue WHERE queue.tag = job.queue),
  COALESCE(job.spec, (SELECT long_spec.spec FROM long_spec WHERE long_spec.no = job.no)),
  state, enqueued_at, due_at, expires_at, finished_at, reason, claim_number, charges, parents_left, cancel_requested, has_note,
  worker, pid, claimed_at, ended_at, outcome, error, result, result_dropped
FROM job
WHERE id = ?1

-- name: attempts
SELECT number, worker, pid, started_at, ended_at, outcome, error
FROM attempt
WHERE job = ?1
ORDER BY number

-- name: usages
SELECT number, usage
FROM usage
WHERE job = ?1

-- name: parents
SELECT parent, ignore_failure
FROM edge
WHERE child = ?1
ORDER BY place

-- name: note
SELECT progress, checkpoint
FROM note
WHERE job = ?1

-- name: log
SELECT line
FROM log
WHERE job = ?1
ORDER BY number

-- name: counts
SELECT queue.tag, queue.name, queue.paused, counter.state, counter.jobs
FROM queue
JOIN counter ON counter.queue = queue.tag
ORDER BY queue.name

-- name: needs
WITH RECURSIVE found (need) AS (
  SELECT (
    SELECT need
    FROM job
    WHERE queue = ?1
    AND state = 'queued'
    ORDER BY need
    LIMIT 1
  )
  UNION ALL
  SELECT (
    SELECT job.need
    FROM job
    WHERE job.queue = ?1
    AND job.state = 'queued'
    AND job.need > found.need
    ORDER BY job.need
    LIMIT 1
  )
  FROM found
  WHERE found.need IS NOT NULL
)
SELECT need
FROM found
WHERE need IS NOT NULL

-- The oldest of a ready set is the head of one of its priority bands.
-- name: head_of_band
SELECT rank
FROM job
WHERE queue = ?1
AND need = ?2
AND state = 'queued'
AND rank >= ?3
AND rank < ?4
ORDER BY rank
LIMIT 1

-- name: leases
SELECT
  no, id, worker, host, owner_boot_id, pid_namespace, pid, started_ticks, wake_token,
  boot_id, expires_boot_ms, (SELECT COUNT(*) FROM job WHERE job.lease = lease.no),
  (SELECT capacity.capacity FROM capacity WHERE capacity.lease = lease.id)
FROM lease
WHERE closed = 0
ORDER BY no

-- name: lease_queues
SELECT queue.name
FROM lease_queue
JOIN queue ON queue.tag = lease_queue.queue
WHERE lease_queue.lease = ?1
ORDER BY lease_queue.place

-- name: listing
SELECT id
FROM job
WHERE {where}
ORDER BY id DESC
LIMIT ?
