-- settle: apply what workers decided about running jobs.
-- cost: per job one row and two index entries; a job with children adds what they cost.

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
AND fence = ?2 -- Guard: fence
RETURNING id, queue, has_children

-- name: finish
UPDATE job
SET state = ?7,
  reason = ?8,
  fence = NULL,
  lease = NULL,
  cancel_requested = 0,
  finished_at = ?3,
  ended_at = ?3,
  outcome = ?4,
  pid = COALESCE(?5, pid),
  error = ?6,
  charges = ?9
WHERE id = ?1
AND fence = ?2 -- Guard: fence
RETURNING id, queue, has_children

-- name: go_on
UPDATE job
SET state = ?7,
  fence = NULL,
  lease = NULL,
  ended_at = ?3,
  outcome = ?4,
  pid = COALESCE(?5, pid),
  error = ?6,
  due_at = COALESCE(?8, due_at),
  charges = ?9,
  need = COALESCE(?10, spec_need, need),
  spec_need = COALESCE(spec_need, need)
WHERE id = ?1
AND fence = ?2 -- Guard: fence
AND cancel_requested = 0 -- Guard: a requested cancel wins
RETURNING queue, need, claim_number, worker, pid, claimed_at
