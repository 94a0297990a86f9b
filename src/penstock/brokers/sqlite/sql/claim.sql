-- claim: take the best jobs of the offered ready sets.
-- cost: one look-up per offered set and per job; independent of the backlog. Jobs past their
-- deadline that stand before the last one taken cost one index entry each.

-- `head` is one ready set in order of rank; several are merged by UNION ALL and ORDER BY, which
-- SQLite does by reading each set one entry ahead (see claim.py and the test of the query plans).
-- name: head
SELECT no, rank, id
FROM job
WHERE queue = ?
AND need = ?
AND state = 'queued'
AND (expires_at IS NULL OR expires_at > ?) -- Guard: deadline

-- name: heads_of_queue
SELECT *
FROM (
{heads}
ORDER BY rank, id
LIMIT ?
)

-- name: take
UPDATE job
SET state = 'running',
  fence = ?,
  lease = ?,
  worker = ?,
  pid = ?,
  claimed_at = ?,
  claim_number = claim_number + 1,
  ended_at = NULL,
  outcome = NULL,
  error = NULL
WHERE no IN (SELECT no FROM ({heads}))
RETURNING rank, id, queue, need, spec, claim_number, claimed_at, charges, has_note

-- name: taken
SELECT rank, id, queue, need, spec, claim_number, claimed_at, charges, has_note
FROM job
WHERE lease = ?1
AND fence = ?2

-- name: checkpoint
SELECT checkpoint
FROM note
WHERE job = ?1

-- name: wait
INSERT INTO waiter (queue, need, token)
VALUES (?1, ?2, ?3)
ON CONFLICT (queue, need, token) DO NOTHING

-- name: no_longer_wait
DELETE FROM waiter
WHERE token = ?1
