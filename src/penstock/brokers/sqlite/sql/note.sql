-- note: keep progress, checkpoints and log lines of running attempts.
-- cost: one look-up and one row per note, one row per log line.

-- name: find
SELECT has_note
FROM job
WHERE id = ?1
AND fence = ?2 -- Guard: fence

-- name: mark
UPDATE job
SET has_note = 1
WHERE id = ?1

-- name: note
INSERT INTO note (job, progress, checkpoint)
VALUES (?1, ?2, ?3)
ON CONFLICT (job) DO UPDATE
SET progress = COALESCE(excluded.progress, progress),
  checkpoint = COALESCE(excluded.checkpoint, checkpoint)
RETURNING log_first, log_next, log_bytes

-- name: append
INSERT INTO log (job, number, line)
VALUES (?1, ?2, ?3)

-- name: sizes
SELECT octet_length(line)
FROM log
WHERE job = ?1
ORDER BY number

-- name: cut
DELETE FROM log
WHERE job = ?1
AND number < ?2

-- name: note_log
UPDATE note
SET log_first = ?2,
  log_next = ?3,
  log_bytes = ?4
WHERE job = ?1
