-- pause, resume: stop and start the claims of one queue.

-- name: pause
UPDATE queue
SET paused = ?2
WHERE name = ?1
RETURNING tag
