-- forget: remove final jobs and all that belongs to them; for prune and delete.
-- cost: one row with its index entries, and six look-ups for what belongs to it.

-- name: find
SELECT id, state, queue, has_children
FROM penstock.job
WHERE id = %(id)s
FOR UPDATE

-- name: remember_end
UPDATE penstock.key
SET last_state = job.state
FROM penstock.job
WHERE key.job = job.id
AND job.id = ANY (%(ids)s::uuid[])

-- name: forget_attempts
DELETE FROM penstock.attempt
WHERE job = ANY (%(ids)s::uuid[])

-- name: forget_usages
DELETE FROM penstock.usage
WHERE job = ANY (%(ids)s::uuid[])

-- name: forget_notes
DELETE FROM penstock.note
WHERE job = ANY (%(ids)s::uuid[])

-- name: forget_logs
DELETE FROM penstock.log
WHERE job = ANY (%(ids)s::uuid[])

-- name: forget_edges
DELETE FROM penstock.edge
WHERE child = ANY (%(ids)s::uuid[])

-- name: forget_jobs
DELETE FROM penstock.job
WHERE id = ANY (%(ids)s::uuid[])
