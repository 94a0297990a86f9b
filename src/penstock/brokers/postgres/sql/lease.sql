-- open_lease, extend, close_leases, restate, and what makes a lease good for `reclaim`.
-- cost: one look-up per lease; extend reads the jobs that run under the leases.

-- name: good
SELECT id, queues
FROM penstock.lease
WHERE id = %(lease)s
AND NOT closed -- Guard: lease is open
AND expires_lease_ms > (SELECT penstock.lease_ms()) -- Guard: lease has time left
FOR SHARE

-- name: open
WITH opened AS (
  INSERT INTO penstock.lease (
    id, queues, worker, host, owner_boot_id, pid_namespace, pid, started_ticks, wake_token,
    expires_lease_ms
  )
  VALUES (
    %(id)s, %(queues)s, %(worker)s, %(host)s, %(boot_id)s, %(pid_namespace)s, %(pid)s,
    %(started_ticks)s, %(wake_token)s, penstock.lease_ms() + %(ttl_ms)s::bigint
  )
  ON CONFLICT (id) DO NOTHING -- Guard: a known lease is left alone
  RETURNING id
)
INSERT INTO penstock.capacity (lease, capacity)
SELECT id, %(capacity)s::bytea
FROM opened
WHERE %(capacity)s::bytea IS NOT NULL

-- name: extend
WITH locked AS MATERIALIZED (
  SELECT id
  FROM penstock.lease
  WHERE id = ANY (%(leases)s::uuid[])
  AND NOT closed -- Guard: a closed lease stays closed
  ORDER BY id
  FOR NO KEY UPDATE
)
UPDATE penstock.lease
SET expires_lease_ms = (SELECT penstock.lease_ms()) + %(ttl_ms)s::bigint
FROM locked
WHERE lease.id = locked.id
RETURNING lease.id

-- name: cancels
SELECT job.id, job.fence, job.lease
FROM penstock.job
JOIN penstock.lease ON lease.id = job.lease
WHERE job.lease = ANY (%(leases)s::uuid[])
AND NOT lease.closed
AND job.cancel_requested -- Guard: only requested cancels
ORDER BY job.id

-- name: close
WITH locked AS MATERIALIZED (
  SELECT id
  FROM penstock.lease
  WHERE id = ANY (%(leases)s::uuid[])
  ORDER BY id
  FOR NO KEY UPDATE
)
UPDATE penstock.lease
SET closed = TRUE
FROM locked
WHERE lease.id = locked.id

-- name: restate
INSERT INTO penstock.capacity (lease, capacity)
SELECT id, %(capacity)s::bytea
FROM penstock.lease
WHERE id = %(lease)s -- Guard: only known leases
ON CONFLICT (lease) DO UPDATE SET capacity = excluded.capacity
