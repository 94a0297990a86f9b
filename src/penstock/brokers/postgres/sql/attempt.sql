-- The attempts before the last one. Written when a job goes back to waiting.

-- name: keep
INSERT INTO penstock.attempt (job, number, worker, pid, started_at, ended_at, outcome, error)
VALUES (
  %(job)s, %(number)s, %(worker)s, %(pid)s, %(started_at)s, %(ended_at)s, %(outcome)s, %(error)s
)
ON CONFLICT (job, number) DO NOTHING

-- name: trim
DELETE FROM penstock.attempt
WHERE job = %(job)s
AND number <= %(number)s
