-- footprints: what was learned of profiles.
-- cost: one statement; one look-up per profile, and its fields.

-- name: footprints
SELECT profile, field, amount
FROM penstock.footprint
WHERE profile = ANY (%(profiles)s::text[])
