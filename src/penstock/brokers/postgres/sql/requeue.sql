-- requeue: give final jobs a new budget of attempts.
-- cost: one look-up and one row per job, one visit per edge below it.

-- name: find
SELECT state, reason, queue
FROM penstock.job
WHERE id = %(id)s
FOR NO KEY UPDATE

-- name: requeue
UPDATE penstock.job
SET state = %(state)s,
  parents_left = %(parents_left)s,
  due_at = CASE WHEN %(state)s = 'blocked' THEN due_at END,
  rank = ((10 - priority)::bigint << 48) | %(now)s::bigint,
  expires_at = %(now)s::bigint + expires_ms,
  finished_at = NULL,
  reason = NULL,
  charges = NULL,
  need = COALESCE(spec_need, need),
  result = NULL,
  result_dropped = FALSE,
  result_drop_at = NULL
WHERE id = %(id)s
RETURNING queue, need, claim_number, worker, pid, claimed_at, ended_at, outcome, error
