-- learn: add to the footprints of profiles.
-- cost: one look-up and one row per field.

-- name: learn
INSERT INTO footprint (profile, field, amount)
VALUES (?1, ?2, ?3)
ON CONFLICT (profile, field) DO UPDATE
SET amount = amount + excluded.amount
