-- note: keep progress, checkpoints and log lines of running attempts.
-- cost: one look-up and one row per note, one row per log line.

-- name: find
SELECT has_note
FROM penstock.job
WHERE id = %(id)s
AND fence = %(fence)s -- Guard: fence
FOR NO KEY UPDATE

-- name: mark
UPDATE penstock.job
SET has_note = TRUE
WHERE id = %(id)s

-- name: note
INSERT INTO penstock.note AS kept (job, progress, checkpoint)
VALUES (%(id)s, %(progress)s, %(checkpoint)s)
ON CONFLICT (job) DO UPDATE
SET progress = COALESCE(excluded.progress, kept.progress),
  checkpoint = COALESCE(excluded.checkpoint, kept.checkpoint)
RETURNING log_first, log_next, log_bytes

-- name: append
INSERT INTO penstock.log (job, number, line)
SELECT %(id)s, %(first)s::bigint + added.place - 1, added.line
FROM unnest(%(lines)s::bytea[]) WITH ORDINALITY AS added (line, place)

-- name: sizes
SELECT octet_length(line)
FROM penstock.log
WHERE job = %(id)s
ORDER BY number

-- name: cut
DELETE FROM penstock.log
WHERE job = %(id)s
AND number < %(first)s

-- name: note_log
UPDATE penstock.note
SET log_first = %(first)s,
  log_next = %(following)s,
  log_bytes = %(size)s
WHERE job = %(id)s
