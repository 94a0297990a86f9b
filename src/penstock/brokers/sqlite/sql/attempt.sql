-- The attempts before the last one. Written when a job goes back to waiting.

-- name: keep
INSERT INTO attempt (job, number, worker, pid, started_at, ended_at, outcome, error)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (job, number) DO NOTHING

-- name: trim
DELETE FROM attempt
WHERE job = ?1
AND number <= ?2
