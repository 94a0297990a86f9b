-- open_lease, extend, close_leases, restate, and what makes a lease good.
-- cost: one look-up per lease and queue; extend reads the cancels of a lease from their own index.

-- name: good
SELECT no, worker, pid
FROM lease
WHERE id = ?1
AND closed = 0 -- Guard: lease is open
AND boot_id = ?2 -- Guard: lease of this boot
AND expires_boot_ms > ?3 -- Guard: lease has time left

-- name: queues
SELECT queue.tag, queue.name, queue.paused
FROM lease_queue
JOIN queue ON queue.tag = lease_queue.queue
WHERE lease_queue.lease = ?1

-- name: open
INSERT INTO lease (
  id, worker, host, owner_boot_id, pid_namespace, pid, started_ticks,
  wake_token, boot_id, expires_boot_ms
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (id) DO NOTHING -- Guard: a known lease is left alone
RETURNING no

-- name: open_queue
INSERT INTO lease_queue (lease, place, queue)
VALUES (?1, ?2, ?3)

-- name: open_capacity
INSERT INTO capacity (lease, capacity)
VALUES (?1, ?2)

-- name: extend
UPDATE lease
SET boot_id = ?2,
  expires_boot_ms = ?3
WHERE id = ?1
AND closed = 0 -- Guard: a closed lease stays closed
RETURNING no

-- name: cancels
SELECT id, fence
FROM job
WHERE lease = ?1
AND cancel_requested = 1 -- Guard: only requested cancels

-- name: close
UPDATE lease
SET closed = 1
WHERE id = ?1

-- name: restate
INSERT INTO capacity (lease, capacity)
SELECT id, ?2
FROM lease
WHERE id = ?1 -- Guard: only known leases
ON CONFLICT (lease) DO UPDATE SET capacity = excluded.capacity
