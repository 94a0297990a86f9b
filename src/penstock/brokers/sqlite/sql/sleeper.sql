-- Sleepers: tokens left by claims that found nothing, taken by whoever makes a job claimable.
-- cost: one look-up per set that gained jobs, all sets of children counted as one.

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

-- name: tokens
SELECT DISTINCT token
FROM waiter
