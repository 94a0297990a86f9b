-- requeue: give final jobs a new budget of attempts.
-- cost: one look-up and one row per job, one visit per edge below it.

-- name: find
SELECT state, reason, queue
FROM job
WHERE id = ?1

-- name: requeue
UPDATE job
SET state = ?2,
  parents_left = ?3,
  due_at = CASE WHEN ?2 = 'blocked' THEN due_at END,
  rank = ((10 - priority) << 48) | ?4,
  expires_at = ?4 + expires_ms,
  finished_at = NULL,
  reason = NULL,
  charges = NULL,
  need = COALESCE(spec_need, need),
  result = NULL,
  result_dropped = 0,
  result_drop_at = NULL
WHERE id = ?1
RETURNING queue, need, claim_number, worker, pid, claimed_at, ended_at, outcome, error
