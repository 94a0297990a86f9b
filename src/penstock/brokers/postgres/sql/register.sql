-- register: give each queue its tag.
-- cost: one look-up; a new name locks the table of queues for the length of its transaction.

-- name: all
SELECT tag, name
FROM penstock.queue

-- Race: two who bring new names at once; the second waits here, and sees the first one's tags.
-- name: one_at_a_time
LOCK TABLE penstock.queue IN SHARE ROW EXCLUSIVE MODE

-- name: tag_of
SELECT tag
FROM penstock.queue
WHERE name = %(queue)s

-- name: next_tag
SELECT COALESCE(max(tag), 0) + 1
FROM penstock.queue

-- name: add
INSERT INTO penstock.queue (tag, name)
VALUES (%(tag)s, %(queue)s)
