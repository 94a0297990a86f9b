-- footprints: what was learned of profiles.
-- cost: one look-up per profile, and its fields.

-- name: footprint
SELECT field, amount
FROM footprint
WHERE profile = ?1
