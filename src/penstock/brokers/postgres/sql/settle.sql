-- settle: apply what workers decided about running jobs.
-- cost: completions: two statements for all; per job one row and two index entries. Others: three
-- statements more, pipelined. A job with children adds what they cost, one whose attempt was measured
-- a row.

-- Before the settlement, which takes the fence away. Race: the rows are locked, so that nobody moves
-- the fence in between; those of the whole batch, in the order of their ids, as everybody locks them.
-- name: usages
WITH held AS MATERIALIZED (
  SELECT job.id, job.claim_number, item.usage
  FROM penstock.job
  JOIN unnest(%(id)s::uuid[], %(fence)s::uuid[], %(usage)s::bytea[]) AS item (id, fence, usage)
    ON item.id = job.id
  WHERE job.fence = item.fence -- Guard: fence of a usage
  ORDER BY job.id
  FOR NO KEY UPDATE OF job
), trimmed AS (
  DELETE FROM penstock.usage
  USING held
  WHERE held.usage IS NOT NULL
  AND usage.job = held.id
  AND usage.number <= held.claim_number - %(kept)s -- Guard: usages kept
)
INSERT INTO penstock.usage (job, number, usage)
SELECT id, claim_number, usage
FROM held
WHERE usage IS NOT NULL
ON CONFLICT (job, number) DO UPDATE
SET usage = excluded.usage

-- The answer names the jobs only where some are stale. `penstock_settled.parents` is a variable of this
-- transaction, in which `count_down` finds those that have children, without a round trip.
-- name: complete
WITH clock AS MATERIALIZED (
  SELECT penstock.wall_ms() AS now
), done AS (
  UPDATE penstock.job
  SET state = 'completed',
    fence = NULL,
    lease = NULL,
    cancel_requested = FALSE,
    finished_at = clock.now,
    ended_at = clock.now,
    outcome = item.outcome,
    pid = COALESCE(item.pid, job.pid),
    error = item.error,
    result = item.result,
    result_dropped = item.is_dropped,
    result_drop_at = CASE WHEN item.result IS NOT NULL THEN clock.now + job.result_ttl_ms END
  FROM clock, unnest(
    %(id)s::uuid[], %(fence)s::uuid[], %(outcome)s::text[], %(pid)s::integer[],
    %(error)s::bytea[], %(result)s::bytea[], %(is_dropped)s::boolean[]
  ) AS item (id, fence, outcome, pid, error, result, is_dropped)
  WHERE job.id = item.id
  AND job.fence = item.fence -- Guard: fence of a completion
  RETURNING job.id, job.queue, job.has_children
), counted AS (
  INSERT INTO penstock.count_change (queue, state, jobs)
  SELECT moved.queue, change.state, change.jobs
  FROM (SELECT queue, count(*) AS jobs FROM done GROUP BY queue) AS moved
  CROSS JOIN LATERAL (VALUES ('running', -moved.jobs), ('completed', moved.jobs))
    AS change (state, jobs)
)
SELECT
  CASE WHEN count(*) < %(asked)s THEN COALESCE(array_agg(id), '{}') END,
  set_config('penstock_settled.parents', COALESCE(array_agg(id) FILTER (WHERE has_children), '{}')::text, TRUE)
FROM done

-- name: held
SELECT
  job.id, queue, has_children, cancel_requested, claim_number, worker, job.pid, claimed_at, need,
  spec_need
FROM penstock.job
JOIN unnest(%(ids)s::uuid[], %(fences)s::uuid[]) AS item (id, fence) ON item.id = job.id
WHERE job.fence = item.fence -- Guard: fence
ORDER BY job.id
FOR NO KEY UPDATE OF job

-- name: finish
UPDATE penstock.job
SET state = %(state)s,
  reason = %(reason)s,
  fence = NULL,
  lease = NULL,
  cancel_requested = FALSE,
  finished_at = %(now)s,
  ended_at = %(now)s,
  outcome = %(outcome)s,
  pid = %(pid)s,
  error = %(error)s,
  charges = %(charges)s
WHERE id = %(id)s

-- name: go_on
UPDATE penstock.job
SET state = %(state)s,
  fence = NULL,
  lease = NULL,
  ended_at = %(now)s,
  outcome = %(outcome)s,
  pid = %(pid)s,
  error = %(error)s,
  due_at = COALESCE(%(due_at)s::bigint, due_at),
  charges = %(charges)s,
  need = %(need)s,
  spec_need = %(spec_need)s
WHERE id = %(id)s
