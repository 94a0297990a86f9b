-- cancel: end waiting jobs, and ask running ones to end.
-- cost: one look-up and one row per job, and what its children cost.

-- name: find
SELECT state, queue, has_children, lease
FROM penstock.job
WHERE id = %(id)s
FOR NO KEY UPDATE

-- The worker hears of it when this transaction commits.
-- name: nudge
SELECT pg_notify('penstock_' || wake_token, '')
FROM penstock.lease
WHERE id = %(lease)s
AND wake_token ~ '^[0-9a-f]{32}$'

-- name: cancel
UPDATE penstock.job
SET state = 'cancelled',
  reason = 'by_operator',
  finished_at = %(now)s
WHERE id = %(id)s

-- name: request
UPDATE penstock.job
SET cancel_requested = TRUE
WHERE id = %(id)s
