-- enqueue: store jobs.
-- cost: per job one row and one entry in two or three indexes; per batch one change of a counter.

-- name: insert
INSERT INTO job (
  id, queue, state, task, priority, need, rank, enqueued_at, due_at,
  expires_at, expires_ms, result_ttl_ms, finished_at, reason, parents_left, spec
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT (id) DO NOTHING -- Guard: same id is the same job

-- name: insert_long_spec
INSERT INTO long_spec (no, spec)
SELECT no, ?2
FROM job
WHERE id = ?1

-- name: newest
SELECT COALESCE(MAX(no), 0)
FROM job

-- name: newer
SELECT id
FROM job
WHERE no > ?1

-- name: state_of
SELECT state
FROM job
WHERE id = ?1

-- name: insert_edge
INSERT INTO edge (child, place, parent, ignore_failure)
VALUES (?1, ?2, ?3, ?4)

-- name: mark_parent
UPDATE job
SET has_children = 1
WHERE id = ?1

-- name: holder
SELECT key.job, key.digest, COALESCE(job.state, key.last_state)
FROM key
LEFT JOIN job ON job.id = key.job
WHERE key.task = ?1
AND key.key = ?2
AND key.until > ?3 -- Guard: key window

-- name: hold_key
INSERT INTO key (task, key, job, digest, until, last_state)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (task, key) DO UPDATE
SET job = excluded.job,
  digest = excluded.digest,
  until = excluded.until,
  last_state = excluded.last_state
