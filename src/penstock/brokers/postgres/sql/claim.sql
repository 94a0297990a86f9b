-- claim: take the best jobs of the offered ready sets.
-- cost: one look-up per offered set and per job; independent of the backlog. Jobs past their
-- deadline that stand before the last one taken cost one index entry and one row each.

-- Race: a repeat that overtakes its first call; the second waits here for the first one's end.
-- name: one_call
SELECT pg_advisory_xact_lock(hashtextextended(%(fence)s, 0))

-- `share` is how many of the best jobs each set holds; `locked` takes as many from each, past those
-- that other claims are taking at this instant. So no row is locked that is not taken, and claims of
-- the same sets neither wait for each other nor come back empty. Where one set is offered, it has all
-- of the best, and nobody looks.
-- name: take
WITH clock AS MATERIALIZED (
  SELECT penstock.wall_ms() AS now, penstock.lease_ms() AS lease_now
), good AS MATERIALIZED (
  SELECT id, worker, pid, queues
  FROM penstock.lease
  WHERE id = %(lease)s
  AND NOT closed -- Guard: lease is open
  AND expires_lease_ms > (SELECT lease_now FROM clock) -- Guard: lease has time left
  FOR SHARE
), offer AS MATERIALIZED (
  SELECT asked.queue, asked.need, asked.jobs_max
  FROM good
  CROSS JOIN unnest(%(queues)s::integer[], %(needs)s::text[], %(limits)s::integer[])
    AS asked (queue, need, jobs_max)
  JOIN penstock.queue ON queue.tag = asked.queue
  WHERE NOT EXISTS (SELECT FROM penstock.job WHERE lease = good.id AND fence = %(fence)s) -- Guard: a repeat takes nothing more
  AND NOT queue.paused -- Guard: paused queues give nothing
  AND asked.queue = ANY (good.queues) -- Guard: the lease is for this queue
), offered AS MATERIALIZED (
  SELECT count(*) = 1 AS one_set
  FROM offer
), candidate AS (
  SELECT
    offer.queue, offer.need, offer.jobs_max, head.rank, head.id,
    row_number() OVER (PARTITION BY offer.queue ORDER BY head.rank, head.id) AS place
  FROM offer
  CROSS JOIN LATERAL (
    SELECT rank, id
    FROM penstock.job
    WHERE queue = offer.queue
    AND need = offer.need
    AND state = 'queued'
    AND (expires_at IS NULL OR expires_at > (SELECT now FROM clock))
    ORDER BY rank, id
    LIMIT offer.jobs_max
  ) AS head
  WHERE NOT (SELECT one_set FROM offered)
), best AS (
  SELECT queue, need
  FROM candidate
  WHERE place <= jobs_max -- Guard: the offer's own limit
  ORDER BY rank, id
  LIMIT %(limit)s
), share AS MATERIALIZED (
  SELECT queue, need, count(*) AS jobs
  FROM best
  GROUP BY queue, need
  UNION ALL
  SELECT queue, need, LEAST(jobs_max, %(limit)s)
  FROM offer
  WHERE (SELECT one_set FROM offered)
), locked AS MATERIALIZED (
  SELECT head.id
  FROM share
  CROSS JOIN LATERAL (
    SELECT id
    FROM penstock.job
    WHERE queue = share.queue
    AND need = share.need
    AND state = 'queued'
    AND (expires_at IS NULL OR expires_at > (SELECT now FROM clock)) -- Guard: deadline
    ORDER BY rank, id
    LIMIT share.jobs
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS head
), taken AS (
  UPDATE penstock.job
  SET state = 'running',
    fence = %(fence)s,
    lease = good.id,
    worker = good.worker,
    pid = good.pid,
    claimed_at = clock.now,
    claim_number = job.claim_number + 1,
    ended_at = NULL,
    outcome = NULL,
    error = NULL
  FROM locked, good, clock
  WHERE job.id = locked.id
  RETURNING
    job.rank, job.id, job.queue, job.need, job.spec, job.claim_number, job.claimed_at, job.charges,
    job.has_note
), counted AS (
  INSERT INTO penstock.count_change (queue, state, jobs)
  SELECT moved.queue, change.state, change.jobs
  FROM (SELECT queue, count(*) AS jobs FROM taken GROUP BY queue) AS moved
  CROSS JOIN LATERAL (VALUES ('queued', -moved.jobs), ('running', moved.jobs))
    AS change (state, jobs)
)
SELECT
  rank, id, queue, need, spec, claim_number, claimed_at, charges,
  CASE WHEN has_note THEN (SELECT checkpoint FROM penstock.note WHERE note.job = taken.id) END
FROM taken

-- What the first call of this fence took and still runs.
-- name: taken
SELECT
  rank, id, queue, need, spec, claim_number, claimed_at, charges,
  CASE WHEN has_note THEN (SELECT checkpoint FROM penstock.note WHERE note.job = job.id) END
FROM penstock.job
WHERE lease = %(lease)s
AND fence = %(fence)s

-- name: is_lease_good
SELECT 1
FROM penstock.lease
WHERE id = %(lease)s
AND NOT closed
AND expires_lease_ms > (SELECT penstock.lease_ms())

-- name: wait
INSERT INTO penstock.waiter (queue, need, token)
SELECT place.queue, place.need, %(token)s
FROM unnest(%(queues)s::integer[], %(needs)s::text[]) AS place (queue, need)
JOIN penstock.lease ON lease.id = %(lease)s
WHERE NOT lease.closed
ON CONFLICT (token, queue, need) DO NOTHING
