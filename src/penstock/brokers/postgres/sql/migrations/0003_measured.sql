-- What was measured, for a schedule by memory; version 3.
-- needs: 2
--
-- Tables of their own and no columns: version 2 writes its rows as before, and what it leaves out is
-- no value of an earlier attempt. What it forgets without these rows, `prune` of version 3 forgets.
-- And a new table waits for nobody: a column, or a key that refers to `job`, would wait for every
-- transaction that is open on it, a dump too, with all workers in line behind it.

-- What an attempt was measured to take, as JSON.
CREATE TABLE penstock.usage (
  job uuid NOT NULL,
  number integer NOT NULL,
  usage bytea NOT NULL,
  PRIMARY KEY (job, number)
);

-- What the worker behind a lease can take, as JSON.
CREATE TABLE penstock.capacity (
  lease uuid PRIMARY KEY,
  capacity bytea NOT NULL
);

-- Sums that workers add to; what a profile and its fields mean, they alone know.
CREATE TABLE penstock.footprint (
  profile text COLLATE "C" NOT NULL,
  field text COLLATE "C" NOT NULL,
  amount double precision NOT NULL,
  PRIMARY KEY (profile, field)
);
