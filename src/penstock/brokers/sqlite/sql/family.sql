-- Parents and children: what the end of one job does to those that wait for it.
-- cost: one look-up and one row per edge below the job, as far as the failure reaches; all of it in
-- the transaction of the verb (family.py, Bound).

-- name: children
SELECT child, ignore_failure
FROM edge
WHERE parent = ?1

-- name: count_down
UPDATE job
SET parents_left = parents_left - 1,
  rank = ((10 - priority) << 48) | ?2,
  state = CASE
    WHEN parents_left > 1 THEN 'blocked' -- Guard: last parent
    WHEN due_at > ?2 THEN 'scheduled' -- Guard: not before it is due
    ELSE 'queued'
  END
WHERE id = ?1
AND state = 'blocked' -- Guard: only blocked children
RETURNING queue, state, need

-- name: cancel_child
UPDATE job
SET state = 'cancelled',
  reason = 'parent_failed',
  finished_at = ?2
WHERE id = ?1
AND state = 'blocked' -- Guard: only blocked children
RETURNING id, queue, has_children

-- name: hold_back
UPDATE job
SET parents_left = parents_left + 1
WHERE id = ?1
AND state = 'blocked' -- Guard: only blocked children

-- An edge is satisfied where its parent is forgotten, completed, or final and ignored; it is broken
-- where its parent failed and is not ignored.
-- name: held_back_by
SELECT
  COUNT(*),
  COALESCE(SUM(parent.state IN ('dead', 'cancelled', 'expired') AND NOT edge.ignore_failure), 0)
FROM edge
JOIN job AS parent ON parent.id = edge.parent
WHERE edge.child = ?1
AND parent.state <> 'completed'
AND NOT (edge.ignore_failure AND parent.state IN ('dead', 'cancelled', 'expired'))
