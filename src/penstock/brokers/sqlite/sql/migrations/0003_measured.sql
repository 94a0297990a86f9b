-- What was measured, for a schedule by memory; version 3.
-- needs: 2
--
-- Tables of their own and no columns: version 2 writes its rows as before, and what it leaves out is
-- no value of an earlier attempt. What it forgets without these rows, `prune` of version 3 forgets.

-- What an attempt was measured to take, as JSON.
CREATE TABLE usage (
  job TEXT NOT NULL,
  number INTEGER NOT NULL,
  usage BLOB NOT NULL,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- What the worker behind a lease can take, as JSON.
CREATE TABLE capacity (
  lease TEXT PRIMARY KEY,
  capacity BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums that workers add to; what a profile and its fields mean, they alone know.
CREATE TABLE footprint (
  profile TEXT NOT NULL,
  field TEXT NOT NULL,
  amount REAL NOT NULL,
  PRIMARY KEY (profile, field)
) STRICT, WITHOUT ROWID;
