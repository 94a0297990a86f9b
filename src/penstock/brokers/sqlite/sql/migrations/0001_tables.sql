-- The tables of a Penstock file, version 1.
-- needs: 1
--
-- Instants are milliseconds since 1970 (wall clock) unless the name ends in _boot_ms (milliseconds
-- since boot, comparable under one boot id only). Ids, fences and leases are 32 hexadecimal digits.
-- docs/explanation/sqlite-layout.md explains each table and index; ADR-0010 has the figures.

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES ('schema_version', '1');

-- The tag is the part of a job id that names its queue; it never changes and is never given twice.
CREATE TABLE queue (
  tag INTEGER PRIMARY KEY CHECK (tag BETWEEN 1 AND 65535),
  name TEXT NOT NULL UNIQUE,
  paused INTEGER NOT NULL DEFAULT 0
) STRICT;

-- How many jobs of a queue are in a state; changed in the transaction that moves the jobs.
CREATE TABLE counter (
  queue INTEGER NOT NULL,
  state TEXT NOT NULL,
  jobs INTEGER NOT NULL CHECK (jobs >= 0),
  PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

-- One row per job. `claim_number`, `worker`, `pid`, `claimed_at`, `ended_at`, `outcome` and `error` are
-- the last attempt's; `attempt` has a copy once the job goes back to waiting, so that a job that ends
-- in its first attempt has no row there. `spec` is what was asked for and never changes.
CREATE TABLE job (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  queue INTEGER NOT NULL,
  state TEXT NOT NULL,
  task TEXT NOT NULL,
  priority INTEGER NOT NULL,
  need TEXT NOT NULL,
  -- The need of the spec, kept only while `need` differs from it.
  spec_need TEXT,
  -- Place in the ready set: lower goes first (core/rank.py).
  rank INTEGER NOT NULL,
  enqueued_at INTEGER NOT NULL,
  due_at INTEGER,
  expires_at INTEGER,
  finished_at INTEGER,
  reason TEXT,
  claim_number INTEGER NOT NULL DEFAULT 0,
  fence TEXT,
  lease INTEGER,
  worker TEXT,
  pid INTEGER,
  claimed_at INTEGER,
  ended_at INTEGER,
  outcome TEXT,
  error BLOB,
  charges BLOB,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  parents_left INTEGER NOT NULL DEFAULT 0,
  has_children INTEGER NOT NULL DEFAULT 0,
  has_note INTEGER NOT NULL DEFAULT 0,
  expires_ms INTEGER,
  result_ttl_ms INTEGER,
  result_drop_at INTEGER,
  result_dropped INTEGER NOT NULL DEFAULT 0,
  -- NULL: it is long and stands in `long_spec`.
  spec BLOB,
  result BLOB,
  -- One CASE, and no IN over more than two values: SQLite builds a small index for each such list
  -- whenever it is evaluated, which triples the cost of an insert (ADR-0010).
  CHECK (
    CASE state
      WHEN 'queued' THEN lease IS NULL AND finished_at IS NULL
      WHEN 'running' THEN lease IS NOT NULL AND fence IS NOT NULL AND finished_at IS NULL
      WHEN 'completed' THEN lease IS NULL AND finished_at IS NOT NULL
      WHEN 'scheduled' THEN lease IS NULL AND finished_at IS NULL AND due_at IS NOT NULL
      WHEN 'retrying' THEN lease IS NULL AND finished_at IS NULL AND due_at IS NOT NULL
      WHEN 'blocked' THEN lease IS NULL AND finished_at IS NULL AND parents_left > 0
      WHEN 'dead' THEN lease IS NULL AND finished_at IS NOT NULL
      WHEN 'cancelled' THEN lease IS NULL AND finished_at IS NOT NULL
      WHEN 'expired' THEN lease IS NULL AND finished_at IS NOT NULL
      ELSE FALSE
    END
  )
) STRICT;

-- Specs of more than 1 KiB. SQLite writes a whole row at each change of its length, and a claim and a
-- settle change it: a long payload in the row would be written three times.
CREATE TABLE long_spec (
  no INTEGER PRIMARY KEY,
  spec BLOB NOT NULL
) STRICT;

-- claim, needs, counts: the ready sets. expires_at stands here so that an expired head is skipped
-- without reading its row.
CREATE INDEX job_ready ON job (queue, need, rank, id, expires_at)
WHERE state = 'queued';

-- claim, promote: what becomes due next.
CREATE INDEX job_due ON job (queue, due_at, id)
WHERE state IN ('scheduled', 'retrying');

-- expire: what passes its deadline next. Running jobs stay in it and are skipped, so that a claim and
-- a release need not touch it.
CREATE INDEX job_deadline ON job (queue, expires_at, id)
WHERE expires_at IS NOT NULL AND finished_at IS NULL;

-- claim, reclaim, leases: what runs under a lease, and under which claim call of it.
CREATE INDEX job_running ON job (lease, fence)
WHERE lease IS NOT NULL;

-- extend: cancels requested under a lease.
CREATE INDEX job_cancel ON job (lease)
WHERE cancel_requested = 1;

-- prune: final jobs, oldest first.
CREATE INDEX job_final ON job (queue, state, finished_at, id)
WHERE finished_at IS NOT NULL;

-- prune: results past their ttl.
CREATE INDEX job_result ON job (queue, result_drop_at)
WHERE result_drop_at IS NOT NULL;

-- list_jobs: states that few jobs are in; the common way queued, running, completed touches it not.
CREATE INDEX job_listed ON job (state, id)
WHERE state = 'blocked' OR state = 'scheduled' OR state = 'retrying'
OR state = 'dead' OR state = 'cancelled' OR state = 'expired';

-- Attempts after which the job went back to waiting.
CREATE TABLE attempt (
  job TEXT NOT NULL,
  number INTEGER NOT NULL,
  worker TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  error BLOB,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- What running attempts wanted kept.
CREATE TABLE note (
  job TEXT PRIMARY KEY,
  progress BLOB,
  checkpoint BLOB,
  -- Numbers of the oldest line kept in `log` and of the next one, and bytes of all that are kept.
  log_first INTEGER NOT NULL DEFAULT 0,
  log_next INTEGER NOT NULL DEFAULT 0,
  log_bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
  job TEXT NOT NULL,
  number INTEGER NOT NULL,
  line TEXT NOT NULL,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Edges from a child to the parents that must be final first.
CREATE TABLE edge (
  child TEXT NOT NULL,
  place INTEGER NOT NULL,
  parent TEXT NOT NULL,
  ignore_failure INTEGER NOT NULL,
  PRIMARY KEY (child, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX edge_parent ON edge (parent, child, ignore_failure);

-- Idempotency keys in their window. A key may outlive its job; last_state then tells how that ended.
CREATE TABLE key (
  task TEXT NOT NULL,
  key TEXT NOT NULL,
  job TEXT NOT NULL,
  digest TEXT,
  until INTEGER NOT NULL,
  last_state TEXT NOT NULL,
  PRIMARY KEY (task, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX key_job ON key (job);
CREATE INDEX key_until ON key (until);

-- One lease per runner incarnation; lease_queue names the queues it claims from.
CREATE TABLE lease (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  worker TEXT NOT NULL,
  host TEXT NOT NULL,
  owner_boot_id TEXT NOT NULL,
  pid_namespace INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  started_ticks INTEGER NOT NULL,
  wake_token TEXT,
  -- The boot under which expires_boot_ms was stamped.
  boot_id TEXT NOT NULL,
  expires_boot_ms INTEGER NOT NULL,
  closed INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX lease_closed ON lease (closed, no);

CREATE TABLE lease_queue (
  lease INTEGER NOT NULL,
  place INTEGER NOT NULL,
  queue INTEGER NOT NULL,
  PRIMARY KEY (lease, place)
) STRICT, WITHOUT ROWID;

-- The last call of any reaper, and until when reapers hold after an outage.
CREATE TABLE reaper (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  boot_id TEXT NOT NULL,
  tick_boot_ms INTEGER NOT NULL,
  hold_until_boot_ms INTEGER NOT NULL
) STRICT;

-- Sleeping claimers, longest waiting first: an enqueue takes as many as it can feed.
CREATE TABLE waiter (
  seq INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  need TEXT NOT NULL,
  token TEXT NOT NULL,
  UNIQUE (token, queue, need)
) STRICT;

CREATE INDEX waiter_set ON waiter (queue, need);

-- For people: every column of `job` in words.
CREATE VIEW jobs AS
SELECT
  job.id,
  queue.name AS queue,
  job.state,
  job.task,
  job.priority,
  job.need,
  strftime('%Y-%m-%d %H:%M:%f', job.enqueued_at / 1000.0, 'unixepoch') AS enqueued_at,
  strftime('%Y-%m-%d %H:%M:%f', job.due_at / 1000.0, 'unixepoch') AS due_at,
  strftime('%Y-%m-%d %H:%M:%f', job.expires_at / 1000.0, 'unixepoch') AS expires_at,
  strftime('%Y-%m-%d %H:%M:%f', job.claimed_at / 1000.0, 'unixepoch') AS claimed_at,
  strftime('%Y-%m-%d %H:%M:%f', job.finished_at / 1000.0, 'unixepoch') AS finished_at,
  job.claim_number,
  job.worker,
  job.pid,
  job.outcome,
  job.reason,
  job.cancel_requested,
  job.parents_left,
  CAST(job.error AS TEXT) AS error,
  CAST(job.charges AS TEXT) AS charges,
  CAST(
    COALESCE(job.spec, (SELECT long_spec.spec FROM long_spec WHERE long_spec.no = job.no)) AS TEXT
  ) AS spec,
  CAST(job.result AS TEXT) AS result
FROM job
JOIN queue ON queue.tag = job.queue;

CREATE VIEW queues AS
SELECT
  queue.name AS queue,
  queue.paused,
  counter.state,
  counter.jobs
FROM queue
LEFT JOIN counter ON counter.queue = queue.tag;
