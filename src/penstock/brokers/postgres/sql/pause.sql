-- pause, resume: stop and start the claims of one queue.

-- name: pause
UPDATE penstock.queue
SET paused = %(paused)s
WHERE name = %(queue)s
RETURNING tag
