-- claim: take the best jobs of the offered ready sets.
-- cost: one look-up per offered set and per job; independent of the backlog. Jobs past their
-- deadline that stand before the last one taken cost one index entry each.

-- `heads` are the sets of one shape of offers, each arm one ready set in order of rank. UNION ALL with
-- ORDER BY is a merge that reads each set one entry ahead; see claim.py, and the test of the plans.
-- name: arm
SELECT no, rank, id
FROM job
WHERE queue = ?
AND need = ?
AND state = 'queued'
AND (expires_at IS NULL OR expires_at > ?) -- Guard: deadline

-- name: arms_of_queue
SELECT *
FROM (
{arms}
ORDER BY rank, id
LIMIT ?
)

-- name: heads
SELECT
  head.rank, head.id, job.no, job.queue, job.need,
  COALESCE(job.spec, (SELECT long_spec.spec FROM long_spec WHERE long_spec.no = job.no)),
  job.claim_number + 1, ?, job.charges, job.has_note
FROM (
{arms}
ORDER BY rank, id
LIMIT ?
) AS head
CROSS JOIN job ON job.no = head.no

-- name: take
UPDATE job
SET state = 'running',
  fence = ?2,
  lease = ?3,
  worker = ?4,
  pid = ?5,
  claimed_at = ?6,
  claim_number = claim_number + 1,
  ended_at = NULL,
  outcome = NULL,
  error = NULL
WHERE no = ?1

-- name: taken
SELECT
  rank, id, no, queue, need,
  COALESCE(job.spec, (SELECT long_spec.spec FROM long_spec WHERE long_spec.no = job.no)),
  claim_number, claimed_at, charges, has_note
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
ON CONFLICT (token, queue, need) DO NOTHING

-- name: no_longer_wait
DELETE FROM waiter
WHERE token = ?1
