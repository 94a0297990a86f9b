-- enqueue: store jobs.
-- cost: per batch of plain jobs one statement; per job one row, two or three index entries. A job with
-- a key or parents takes a few statements of its own.

-- The class of durability is set here and not by a statement of its own, which would make the call
-- from plain code a fifth slower.
-- name: store
WITH clock AS MATERIALIZED (
  SELECT
    penstock.wall_ms() AS now,
    CASE WHEN %(commit)s::text IS NOT NULL THEN
      set_config('synchronous_commit', %(commit)s::text, TRUE)
    END
), item AS (
  SELECT asked.*, clock.now, COALESCE(clock.now + asked.delay_ms, asked.due_at) AS due
  FROM clock
  CROSS JOIN unnest(
    %(id)s::uuid[], %(queue)s::integer[], %(task)s::text[], %(priority)s::smallint[],
    %(need)s::text[], %(delay_ms)s::bigint[], %(due_at)s::bigint[], %(expires_ms)s::bigint[],
    %(result_ttl_ms)s::bigint[], %(spec)s::bytea[], %(parents_left)s::integer[],
    %(is_broken)s::boolean[]
  ) AS asked (
    id, queue, task, priority, need, delay_ms, due_at, expires_ms, result_ttl_ms, spec,
    parents_left, is_broken
  )
), stored AS (
  INSERT INTO penstock.job (
    id, queue, state, task, priority, need, rank, enqueued_at, due_at, expires_at, expires_ms,
    result_ttl_ms, finished_at, reason, parents_left, spec
  )
  SELECT
    id, queue,
    CASE
      WHEN is_broken THEN 'cancelled'
      WHEN parents_left > 0 THEN 'blocked' -- Guard: unfinished parents
      WHEN due > now THEN 'scheduled' -- Guard: not before it is due
      ELSE 'queued'
    END,
    task, priority, need, ((10 - priority)::bigint << 48) | now, now, due, now + expires_ms,
    expires_ms, result_ttl_ms,
    CASE WHEN is_broken THEN now END,
    CASE WHEN is_broken THEN 'parent_failed' END,
    parents_left, spec
  FROM item
  ON CONFLICT (id) DO NOTHING -- Guard: same id is the same job
  RETURNING id, queue, state, need
), counted AS (
  INSERT INTO penstock.count_change (queue, state, jobs)
  SELECT queue, state, count(*)
  FROM stored
  GROUP BY queue, state
)
SELECT id, state, queue, need
FROM stored

-- name: states_of
SELECT id, state
FROM penstock.job
WHERE id = ANY (%(ids)s::uuid[])

-- name: insert_edges
INSERT INTO penstock.edge (child, place, parent, ignore_failure)
SELECT %(child)s::uuid, edge.place - 1, edge.parent, edge.ignore_failure
FROM unnest(%(parents)s::uuid[], %(ignore_failure)s::boolean[]) WITH ORDINALITY
  AS edge (parent, ignore_failure, place)

-- A parent that is marked is locked, too: its end waits for this child, or this child sees its end.
-- name: mark_parents
WITH locked AS (
  SELECT id
  FROM penstock.job
  WHERE id = ANY (%(parents)s::uuid[])
  ORDER BY id
  FOR NO KEY UPDATE
)
UPDATE penstock.job
SET has_children = TRUE
FROM locked
WHERE job.id = locked.id
RETURNING job.id

-- Race: two who bring the same key at once; the second waits here, and finds it held.
-- name: hold_key
INSERT INTO penstock.key AS held (task, key, job, digest, until, last_state)
VALUES (
  %(task)s, %(key)s, %(job)s, %(digest)s, penstock.wall_ms() + %(ttl_ms)s::bigint, 'queued'
)
ON CONFLICT (task, key) DO UPDATE
SET job = excluded.job,
  digest = excluded.digest,
  until = excluded.until,
  last_state = excluded.last_state
WHERE held.until <= penstock.wall_ms() -- Guard: key window
RETURNING held.job

-- name: let_key_go
DELETE FROM penstock.key
WHERE task = %(task)s
AND key = %(key)s
AND job = %(job)s

-- name: holder
SELECT key.job, key.digest, COALESCE(job.state, key.last_state)
FROM penstock.key
LEFT JOIN penstock.job ON job.id = key.job
WHERE key.task = %(task)s
AND key.key = %(key)s
