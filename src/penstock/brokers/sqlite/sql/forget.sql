-- forget: remove a final job and all that belongs to it; for prune and delete.
-- cost: one row with its index entries, and six look-ups for what belongs to it.

-- name: find
SELECT id, state, queue, has_children
FROM job
WHERE id = ?1

-- name: remember_end
UPDATE key
SET last_state = ?2
WHERE job = ?1

-- name: forget_attempts
DELETE FROM attempt
WHERE job = ?1

-- name: forget_usages
DELETE FROM usage
WHERE job = ?1

-- name: forget_note
DELETE FROM note
WHERE job = ?1

-- name: forget_log
DELETE FROM log
WHERE job = ?1

-- name: forget_edges
DELETE FROM edge
WHERE child = ?1

-- name: forget_long_spec
DELETE FROM long_spec
WHERE no = (SELECT no FROM job WHERE id = ?1)

-- name: forget
DELETE FROM job
WHERE id = ?1
