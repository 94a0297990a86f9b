-- promote: make due jobs claimable.
-- cost: one look-up per queue; per job one row and two index entries.

-- name: due
SELECT due_at, id, no, queue, state, need
FROM job
WHERE queue = ?1
AND state IN ('scheduled', 'retrying')
AND due_at <= ?2 -- Guard: only due jobs
ORDER BY due_at, id
LIMIT ?3

-- name: promote
UPDATE job
SET state = 'queued',
  rank = ((10 - priority) << 48) | due_at
WHERE no = ?1

-- name: next_due
SELECT due_at
FROM job
WHERE queue = ?1
AND state IN ('scheduled', 'retrying')
ORDER BY due_at, id
LIMIT 1
