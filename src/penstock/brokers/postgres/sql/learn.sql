-- learn: add to the footprints of profiles.
-- cost: one statement; one look-up and one row per field. Rows are locked in the order of their names.

-- name: learn
INSERT INTO penstock.footprint AS known (profile, field, amount)
SELECT item.profile, item.field, item.amount
FROM unnest(%(profiles)s::text[], %(fields)s::text[], %(amounts)s::double precision[])
  AS item (profile, field, amount)
ON CONFLICT (profile, field) DO UPDATE
SET amount = known.amount + excluded.amount
