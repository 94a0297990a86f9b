-- What the file says of itself, version 2.
-- needs: 1
--
-- `schema_version` is what version 1 reads, and refuses where it is greater than its own. So it
-- stays: from now on it is the version that a Penstock must know to open the file, and the row
-- added here is the version of the last migration (ADR-0026).
INSERT INTO meta (name, value) VALUES ('schema_revision', '2');
