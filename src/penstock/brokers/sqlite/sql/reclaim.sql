-- reclaim: take over running jobs whose lease is closed or has run out.
-- cost: one row per lease; one read and a sort of every running job of the closed leases, since the
-- lowest ids come first however many are taken; one row and one index entry per job taken.

-- name: tick
SELECT boot_id, tick_boot_ms, hold_until_boot_ms
FROM reaper

-- name: note_tick
INSERT INTO reaper (one, boot_id, tick_boot_ms, hold_until_boot_ms)
VALUES (1, ?1, ?2, ?3)
ON CONFLICT (one) DO UPDATE
SET boot_id = excluded.boot_id,
  tick_boot_ms = excluded.tick_boot_ms,
  hold_until_boot_ms = excluded.hold_until_boot_ms

-- A lease of another boot has run out: the hold of the first call of a boot gives it its full lease.
-- name: close_run_out
UPDATE lease
SET closed = 1
WHERE closed = 0
AND (boot_id <> ?1 OR expires_boot_ms <= ?2) -- Guard: ran out
AND EXISTS (
  SELECT 1
  FROM lease_queue
  WHERE lease_queue.lease = lease.no
  AND lease_queue.queue IN (SELECT value FROM json_each(?3)) -- Guard: these queues only
)
RETURNING id

-- name: orphans
SELECT
  job.rank, job.id, job.no, job.queue, job.need,
  COALESCE(job.spec, (SELECT long_spec.spec FROM long_spec WHERE long_spec.no = job.no)),
  job.claim_number, job.claimed_at, job.charges, job.has_note, job.worker, job.pid
FROM lease
JOIN job ON job.lease = lease.no
WHERE lease.closed = 1 -- Guard: only closed leases
AND job.queue IN (SELECT value FROM json_each(?1)) -- Guard: only these queues
ORDER BY job.id
LIMIT ?2

-- name: take
UPDATE job
SET fence = ?2,
  lease = ?3
WHERE no = ?1

-- name: taken
SELECT
  rank, id, no, queue, need,
  COALESCE(job.spec, (SELECT long_spec.spec FROM long_spec WHERE long_spec.no = job.no)),
  claim_number, claimed_at, charges, has_note, worker, pid
FROM job
WHERE lease = ?1
AND fence = ?2
