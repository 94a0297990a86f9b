-- settle: apply what workers decided about running jobs.
-- cost: per job one row and two index entries; a job with children adds what they cost, one whose
-- attempt was measured a row.

-- Before the settlement, which takes the fence away.
-- name: usage
INSERT INTO usage (job, number, usage)
SELECT id, claim_number, ?3
FROM job
WHERE id = ?1
AND fence = ?2 -- Guard: fence of a usage
ON CONFLICT (job, number) DO UPDATE
SET usage = excluded.usage

-- name: trim_usages
DELETE FROM usage
WHERE job = ?1
AND number <= (SELECT claim_number FROM job WHERE id = ?1) - ?2 -- Guard: usages kept

-- name: held
SELECT no, queue, has_children, cancel_requested, claim_number, worker, pid, claimed_at, need, spec_need
FROM job
WHERE id = ?1
AND fence = ?2 -- Guard: fence

-- name: complete
UPDATE job
SET state = 'completed',
  fence = NULL,
  lease = NULL,
  cancel_requested = 0,
  finished_at = ?3,
  ended_at = ?3,
  outcome = ?4,
  pid = COALESCE(?5, pid),
  error = ?6,
  result = ?7,
  result_dropped = ?8,
  result_drop_at = CASE WHEN ?7 IS NOT NULL THEN ?3 + result_ttl_ms END
WHERE id = ?1
AND fence = ?2 -- Guard: fence of a completion
RETURNING id, queue, has_children

-- name: finish
UPDATE job
SET state = ?6,
  reason = ?7,
  fence = NULL,
  lease = NULL,
  cancel_requested = 0,
  finished_at = ?2,
  ended_at = ?2,
  outcome = ?3,
  pid = ?4,
  error = ?5,
  charges = ?8
WHERE no = ?1

-- name: go_on
UPDATE job
SET state = ?6,
  fence = NULL,
  lease = NULL,
  ended_at = ?2,
  outcome = ?3,
  pid = ?4,
  error = ?5,
  due_at = COALESCE(?7, due_at),
  charges = ?8,
  need = ?9,
  spec_need = ?10
WHERE no = ?1
