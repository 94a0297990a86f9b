-- reclaim: take over running jobs whose lease is closed or has run out.
-- cost: one row per lease; one read and a sort of every running job of the closed leases, since the
-- lowest ids come first however many are taken; one row and one index entry per job taken.

-- name: tick
SELECT tick_lease_ms, hold_until_lease_ms, penstock.lease_ms()
FROM penstock.reaper
FOR UPDATE

-- name: note_tick
UPDATE penstock.reaper
SET tick_lease_ms = %(now)s,
  hold_until_lease_ms = %(hold_until)s

-- name: close_run_out
WITH locked AS MATERIALIZED (
  SELECT id
  FROM penstock.lease
  WHERE NOT closed
  AND expires_lease_ms <= %(now)s -- Guard: ran out
  AND queues && %(queues)s::integer[] -- Guard: these queues only
  ORDER BY id
  FOR NO KEY UPDATE
)
UPDATE penstock.lease
SET closed = TRUE
FROM locked
WHERE lease.id = locked.id
RETURNING lease.id

-- name: orphans
SELECT
  job.rank, job.id, job.queue, job.need, job.spec, job.claim_number, job.claimed_at, job.charges,
  CASE WHEN job.has_note THEN (SELECT checkpoint FROM penstock.note WHERE note.job = job.id) END,
  job.worker, job.pid
FROM penstock.lease
JOIN penstock.job ON job.lease = lease.id
WHERE lease.closed -- Guard: only closed leases
AND job.queue = ANY (%(queues)s::integer[]) -- Guard: only these queues
ORDER BY job.id
LIMIT %(limit)s
FOR NO KEY UPDATE OF job SKIP LOCKED

-- name: take
UPDATE penstock.job
SET fence = %(fence)s,
  lease = %(lease)s
WHERE id = ANY (%(ids)s::uuid[])

-- name: taken
SELECT
  job.rank, job.id, job.queue, job.need, job.spec, job.claim_number, job.claimed_at, job.charges,
  CASE WHEN job.has_note THEN (SELECT checkpoint FROM penstock.note WHERE note.job = job.id) END,
  job.worker, job.pid
FROM penstock.job
WHERE lease = %(lease)s
AND fence = %(fence)s
