-- Sleepers: tokens left by claims that found nothing, taken by whoever makes a job claimable.
-- cost: one look-up per ready set that gained jobs.

-- name: sleepers
SELECT token
FROM waiter
WHERE queue = ?1
AND need = ?2
ORDER BY seq
LIMIT ?3

-- name: is_paused
SELECT 1
FROM queue
WHERE tag = ?1
AND paused = 1

-- One sleeper is fed by one job: its tokens at other sets are used up with this one.
-- name: take
DELETE FROM waiter
WHERE token = ?1

-- name: awaited
SELECT need, COUNT(*)
FROM waiter
WHERE queue = ?1
GROUP BY need

-- name: ready
SELECT COUNT(*)
FROM (
  SELECT 1
  FROM job
  WHERE queue = ?1
  AND need = ?2
  AND state = 'queued'
  LIMIT ?3
)

-- name: tokens
SELECT DISTINCT token
FROM waiter
