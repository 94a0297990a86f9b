-- The tables of Penstock, version 1.
-- needs: 1
--
-- Instants are milliseconds since 1970 by the server's clock; those that end in _lease_ms are of the
-- lease clock. Ids, fences and leases are 128 bits, hence of type uuid: 16 bytes, in time order.
-- docs/explanation/postgres-layout.md explains each table and index; ADR-0017 has the figures.

-- All instants come from these two. Not now(): a transaction of the caller's may be hours old.
CREATE FUNCTION penstock.wall_ms() RETURNS bigint
LANGUAGE sql STABLE
AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE FUNCTION penstock.lease_ms() RETURNS bigint
LANGUAGE sql STABLE
AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- The tag is the part of a job id that names its queue; it never changes and is never given twice.
CREATE TABLE penstock.queue (
  tag integer PRIMARY KEY CHECK (tag BETWEEN 1 AND 65535),
  name text NOT NULL UNIQUE,
  paused boolean NOT NULL DEFAULT FALSE
);

-- How many jobs of a queue are in a state: what stands in `counter`, and all changes since. A change
-- is a row of its own, so that no two transactions wait for each other's counters; `prune` folds them.
CREATE TABLE penstock.counter (
  queue integer NOT NULL,
  state text NOT NULL,
  jobs bigint NOT NULL,
  PRIMARY KEY (queue, state)
);

CREATE TABLE penstock.count_change (
  queue integer NOT NULL,
  state text NOT NULL,
  jobs bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000);

-- One row per job. `claim_number`, `worker`, `pid`, `claimed_at`, `ended_at`, `outcome` and `error` are
-- the last attempt's; `attempt` has a copy once the job goes back to waiting, so that a job that ends
-- in its first attempt has no row there. `spec` is what was asked for and never changes; PostgreSQL
-- moves long values out of the row by itself and does not write them again with it.
CREATE TABLE penstock.job (
  id uuid PRIMARY KEY,
  queue integer NOT NULL,
  state text NOT NULL,
  task text NOT NULL,
  priority smallint NOT NULL,
  need text COLLATE "C" NOT NULL,
  -- The need of the spec, kept only while `need` differs from it.
  spec_need text COLLATE "C",
  -- Place in the ready set: lower goes first (core/rank.py).
  rank bigint NOT NULL,
  enqueued_at bigint NOT NULL,
  due_at bigint,
  expires_at bigint,
  finished_at bigint,
  reason text,
  claim_number integer NOT NULL DEFAULT 0,
  fence uuid,
  lease uuid,
  worker text,
  pid integer,
  claimed_at bigint,
  ended_at bigint,
  outcome text,
  error bytea,
  charges bytea,
  cancel_requested boolean NOT NULL DEFAULT FALSE,
  parents_left integer NOT NULL DEFAULT 0,
  has_children boolean NOT NULL DEFAULT FALSE,
  has_note boolean NOT NULL DEFAULT FALSE,
  expires_ms bigint,
  result_ttl_ms bigint,
  result_drop_at bigint,
  result_dropped boolean NOT NULL DEFAULT FALSE,
  spec bytea,
  result bytea,
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
-- A claim and a settle leave a dead row each; a fifth of a large table would be too many to wait for.
) WITH (
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0
);

-- claim, needs, counts: the ready sets.
CREATE INDEX job_ready ON penstock.job (queue, need, rank, id)
WHERE state = 'queued';

-- claim, promote: what becomes due next.
CREATE INDEX job_due ON penstock.job (queue, due_at, id)
WHERE state IN ('scheduled', 'retrying');

-- expire: what passes its deadline next.
CREATE INDEX job_deadline ON penstock.job (queue, expires_at, id)
WHERE expires_at IS NOT NULL AND finished_at IS NULL;

-- claim, reclaim, leases: what runs under a lease, and under which claim call of it.
CREATE INDEX job_running ON penstock.job (lease, fence)
WHERE lease IS NOT NULL;

-- prune: final jobs, oldest first.
CREATE INDEX job_final ON penstock.job (queue, state, finished_at, id)
WHERE finished_at IS NOT NULL;

-- prune: results past their ttl.
CREATE INDEX job_result ON penstock.job (queue, result_drop_at)
WHERE result_drop_at IS NOT NULL;

-- list_jobs: states that few jobs are in; the common way queued, running, completed touches it not.
CREATE INDEX job_listed ON penstock.job (state, id)
WHERE state IN ('blocked', 'scheduled', 'retrying', 'dead', 'cancelled', 'expired');

-- Attempts after which the job went back to waiting.
CREATE TABLE penstock.attempt (
  job uuid NOT NULL,
  number integer NOT NULL,
  worker text NOT NULL,
  pid integer NOT NULL,
  started_at bigint NOT NULL,
  ended_at bigint NOT NULL,
  outcome text NOT NULL,
  error bytea,
  PRIMARY KEY (job, number)
);

-- What running attempts wanted kept.
CREATE TABLE penstock.note (
  job uuid PRIMARY KEY,
  progress bytea,
  checkpoint bytea,
  -- Numbers of the oldest line kept in `log` and of the next one, and bytes of all that are kept.
  log_first bigint NOT NULL DEFAULT 0,
  log_next bigint NOT NULL DEFAULT 0,
  log_bytes bigint NOT NULL DEFAULT 0
);

-- Lines are bytes: a task may write U+0000, which no text of PostgreSQL may hold.
CREATE TABLE penstock.log (
  job uuid NOT NULL,
  number bigint NOT NULL,
  line bytea NOT NULL,
  PRIMARY KEY (job, number)
);

-- Edges from a child to the parents that must be final first.
CREATE TABLE penstock.edge (
  child uuid NOT NULL,
  place integer NOT NULL,
  parent uuid NOT NULL,
  ignore_failure boolean NOT NULL,
  PRIMARY KEY (child, place)
);

CREATE INDEX edge_parent ON penstock.edge (parent, child, ignore_failure);

-- Idempotency keys in their window. A key may outlive its job; last_state then tells how that ended.
CREATE TABLE penstock.key (
  task text NOT NULL,
  key text NOT NULL,
  job uuid NOT NULL,
  digest text,
  until bigint NOT NULL,
  last_state text NOT NULL,
  PRIMARY KEY (task, key)
);

CREATE INDEX key_job ON penstock.key (job);
CREATE INDEX key_until ON penstock.key (until);

-- One lease per runner incarnation.
CREATE TABLE penstock.lease (
  id uuid PRIMARY KEY,
  queues integer[] NOT NULL,
  worker text NOT NULL,
  host text NOT NULL,
  owner_boot_id text NOT NULL,
  pid_namespace bigint NOT NULL,
  pid integer NOT NULL,
  started_ticks bigint NOT NULL,
  wake_token text,
  expires_lease_ms bigint NOT NULL,
  closed boolean NOT NULL DEFAULT FALSE
);

-- The last call of any reaper, and until when reapers hold after an outage.
CREATE TABLE penstock.reaper (
  one integer PRIMARY KEY CHECK (one = 1),
  tick_lease_ms bigint,
  hold_until_lease_ms bigint NOT NULL
);

INSERT INTO penstock.reaper (one, hold_until_lease_ms) VALUES (1, 0);

-- Sleeping claimers, longest waiting first: who makes jobs claimable takes as many as these can feed.
CREATE TABLE penstock.waiter (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  queue integer NOT NULL,
  need text COLLATE "C" NOT NULL,
  token text NOT NULL,
  UNIQUE (token, queue, need)
);

CREATE INDEX waiter_set ON penstock.waiter (queue, need, seq);

-- Bytes that are no JSON read as NULL, so that one bad record does not spoil a whole listing.
CREATE FUNCTION penstock.read_json(stored bytea) RETURNS jsonb
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN convert_from(stored, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
  RETURN NULL;
END
$$;

-- For people: what a job is, in the words and types of SQL.
CREATE VIEW penstock.job_queue AS
SELECT
  job.id,
  queue.name AS queue_name,
  job.task,
  penstock.read_json(job.spec) -> 'payload' AS payload,
  job.state AS status,
  job.priority,
  job.need,
  to_timestamp(job.enqueued_at / 1000.0) AS created_at,
  to_timestamp(
    GREATEST(job.enqueued_at, job.claimed_at, job.ended_at, job.finished_at) / 1000.0
  ) AS updated_at,
  to_timestamp(job.claimed_at / 1000.0) AS started_at,
  to_timestamp(job.finished_at / 1000.0) AS completed_at,
  to_timestamp(job.due_at / 1000.0) AS due_at,
  to_timestamp(job.expires_at / 1000.0) AS expires_at,
  job.lease,
  job.fence,
  job.worker,
  job.pid,
  job.claim_number AS attempt,
  job.outcome,
  job.reason,
  job.cancel_requested,
  job.parents_left,
  penstock.read_json(job.error) AS error,
  penstock.read_json(job.charges) AS charges,
  penstock.read_json(job.result) AS result
FROM penstock.job
JOIN penstock.queue ON queue.tag = job.queue;
