-- register: give each queue its tag.
-- cost: one look-up; a new name writes one queue and its nine counters.

-- name: all
SELECT tag, name
FROM queue

-- name: tag_of
SELECT tag
FROM queue
WHERE name = ?1

-- name: next_tag
SELECT COALESCE(MAX(tag), 0) + 1
FROM queue

-- name: add
INSERT INTO queue (tag, name)
VALUES (?1, ?2)

-- name: add_counter
INSERT INTO counter (queue, state, jobs)
VALUES (?1, ?2, 0)
