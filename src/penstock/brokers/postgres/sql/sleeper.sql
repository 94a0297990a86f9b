-- Sleepers: tokens left by claims that found nothing, taken by whoever made a job claimable.
-- cost: one look-up per set that gained jobs, all sets of children counted as one; where somebody sleeps, one look at the sessions of
-- the server. A listener's session bears its token as its name, so that the dead take no wake-up.

-- One sleeper is fed by one job: its tokens at other sets are used up with this one. Nobody waits for
-- the disk because of it.
-- name: wake
WITH setting AS MATERIALIZED (
  SELECT set_config('synchronous_commit', 'off', TRUE)
), sleeper AS MATERIALIZED (
  SELECT token
  FROM penstock.waiter
  WHERE queue = %(queue)s
  AND need = %(need)s
  AND NOT EXISTS (SELECT FROM penstock.queue WHERE tag = %(queue)s AND paused)
  AND EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'penstock-' || token)
  ORDER BY seq
  LIMIT %(jobs)s
  FOR UPDATE OF waiter SKIP LOCKED
), used AS (
  DELETE FROM penstock.waiter
  WHERE token IN (SELECT token FROM sleeper)
)
SELECT pg_notify('penstock_' || token, '')
FROM setting, sleeper
WHERE token ~ '^[0-9a-f]{32}$'

-- name: forget
DELETE FROM penstock.waiter
WHERE token = %(token)s

-- One that only lost its connection listens anew, and claims then.
-- name: forget_dead
DELETE FROM penstock.waiter
WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'penstock-' || token)

-- name: awaited
SELECT need, count(*)
FROM penstock.waiter
WHERE queue = %(queue)s
GROUP BY need

-- For a transaction of the caller's, which may stay open: the tokens are left where they are.
-- name: hint
SELECT pg_notify('penstock_' || token, '')
FROM (
  SELECT token
  FROM penstock.waiter
  WHERE queue = %(queue)s
  AND need = %(need)s
  AND EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'penstock-' || token)
  ORDER BY seq
  LIMIT %(jobs)s
) AS sleeper
WHERE token ~ '^[0-9a-f]{32}$'
