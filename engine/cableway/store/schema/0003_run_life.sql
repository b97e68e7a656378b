-- The life of a run: what its version says of it is copied to its row, so that one statement can judge many runs.

-- Small parts of the documents, so that whoever records runs of many pipelines need not read those whole.
ALTER TABLE pipeline_versions
    ADD COLUMN run_parameters json GENERATED ALWAYS AS (document -> 'parameters') STORED,
    ADD COLUMN run_settings   json GENERATED ALWAYS AS (document -> 'settings') STORED;

-- Postgres reads each check of a table anew for every statement that changes a row of it, and those of a domain once.
CREATE DOMAIN run_state AS text CONSTRAINT known_state CHECK (VALUE IN (
    'queued', 'launching', 'running', 'succeeded', 'completed_with_errors', 'failed',
    'cancelling', 'cancelled', 'timed_out', 'interrupted', 'crashed'
));
CREATE DOMAIN overlap_policy AS text CHECK (VALUE IN ('skip', 'queue_one', 'queue_all', 'replace', 'allow'));
CREATE DOMAIN at_least_one AS integer CHECK (VALUE >= 1);
CREATE DOMAIN some_seconds AS double precision CHECK (VALUE > 0);

ALTER TABLE runs
    ADD COLUMN overlap           overlap_policy NOT NULL DEFAULT 'queue_all',
    ADD COLUMN overlap_key       text NOT NULL DEFAULT '',
    ADD COLUMN concurrency       at_least_one NOT NULL DEFAULT 1,
    ADD COLUMN max_attempts      at_least_one NOT NULL DEFAULT 1,
    ADD COLUMN backoff_initial_s double precision NOT NULL DEFAULT 10,
    ADD COLUMN backoff_factor    double precision NOT NULL DEFAULT 2,
    ADD COLUMN backoff_max_s     double precision NOT NULL DEFAULT 600,
    ADD COLUMN timeout_s         double precision,
    ADD COLUMN grace_s           double precision NOT NULL DEFAULT 25,
    ADD COLUMN has_place         boolean NOT NULL DEFAULT false,
    ADD COLUMN not_before        timestamptz,
    ADD COLUMN launching_since   timestamptz,
    ADD COLUMN launch_failures   integer NOT NULL DEFAULT 0,
    ADD COLUMN failing_since     timestamptz,
    ADD COLUMN cancelled_by      text,
    ADD COLUMN cancel_asked_at   timestamptz,
    ADD COLUMN tries             integer NOT NULL DEFAULT 0,
    ADD COLUMN begun_at          timestamptz,
    ADD COLUMN external_id       text;
COMMENT ON COLUMN runs.overlap IS 'the policy it was recorded under; under allow it counts with no others';
COMMENT ON COLUMN runs.overlap_key IS 'runs of a pipeline for which it differs do not count together';
COMMENT ON COLUMN runs.concurrency IS 'runs of its pipeline and key that may be at work when it begins, itself included';
COMMENT ON COLUMN runs.has_place IS 'from its launch to its end, also while it waits for its next attempt; under allow from the beginning';
COMMENT ON COLUMN runs.not_before IS 'it is not launched before this instant';
COMMENT ON COLUMN runs.failing_since IS 'since when no launch of it has succeeded';
COMMENT ON COLUMN runs.cancelled_by IS 'who asked for its end, as far as they say';
COMMENT ON COLUMN runs.tries IS 'attempts that began to work; attempt counts those too that never did';
COMMENT ON COLUMN runs.begun_at IS 'when its last attempt began';
COMMENT ON COLUMN runs.external_id IS 'what the platform calls the container of that attempt, as the container itself says';

-- What is at work holds a lease, and stands in its run's row alone: a claim writes one row. Before that, while it is
-- launched, and after it an attempt has a row of its own. The view `attempts` shows both.
ALTER TABLE attempts RENAME TO kept_attempts;
UPDATE runs AS r SET tries = a.tries, begun_at = a.begun_at
FROM (SELECT run_id, count(started_at) AS tries, max(started_at) AS begun_at FROM kept_attempts GROUP BY run_id) AS a
WHERE a.run_id = r.run_id;

ALTER TABLE runs
    DROP CONSTRAINT known_state, DROP CONSTRAINT running_has_a_lease, DROP CONSTRAINT ended_has_no_lease,
    DROP CONSTRAINT part_of_parts, DROP CONSTRAINT runs_lease_ttl_s_check;
DROP INDEX runs_open;
ALTER TABLE runs
    ALTER COLUMN state TYPE run_state, ALTER COLUMN lease_ttl_s TYPE some_seconds,
    -- A run with parts is worked on by nobody.
    ADD CONSTRAINT fits_its_state CHECK (
        CASE WHEN lease_expires_at IS NOT NULL THEN state IN ('running', 'cancelling') AND ended_at IS NULL
             WHEN ended_at IS NULL THEN state IN ('queued', 'launching', 'cancelling')
                                        OR state = 'running' AND parts IS NOT NULL AND part IS NULL
             ELSE true END
        AND (part IS NULL) = (parent_run_id IS NULL));

-- A run that goes from queued to running changes nothing that an index looks at, so that its row stays on its page and
-- the indexes as they are: what is open has not ended, and nothing here asks for more.
ALTER TABLE runs SET (fillfactor = 60);

-- Of a pipeline and key in their order: those who have a place, and those who wait for one.
CREATE INDEX runs_places ON runs (pipeline, overlap_key, has_place, created_at, run_id) WHERE ended_at IS NULL;
CREATE INDEX runs_with_place ON runs (created_at, run_id) WHERE ended_at IS NULL AND has_place;
CREATE INDEX runs_waiting_until ON runs (not_before) WHERE ended_at IS NULL AND not_before IS NOT NULL;
CREATE INDEX runs_failing ON runs (failing_since) WHERE ended_at IS NULL AND failing_since IS NOT NULL;

-- Most runs have neither parts nor a key.
ALTER TABLE runs DROP CONSTRAINT runs_parent_run_id_part_key, DROP CONSTRAINT runs_pipeline_key_key;
CREATE UNIQUE INDEX runs_by_part ON runs (parent_run_id, part) WHERE parent_run_id IS NOT NULL;
CREATE UNIQUE INDEX runs_by_key ON runs (pipeline, key) WHERE key IS NOT NULL;

ALTER TABLE kept_attempts ADD COLUMN stop_asked_at timestamptz;
CREATE INDEX attempts_to_stop ON kept_attempts (run_id)
    WHERE state = 'cancelled' AND started_at IS NULL AND stop_asked_at IS NULL;
COMMENT ON COLUMN kept_attempts.stop_asked_at IS 'when the platform was asked to end its container';

-- Limits that runs share, whatever pipelines they are of.
CREATE TABLE limits (
    name        text PRIMARY KEY,
    concurrency integer CHECK (concurrency >= 1),
    rate        double precision CHECK (rate > 0),
    period_s    double precision NOT NULL DEFAULT 1 CHECK (period_s > 0),
    tokens      double precision NOT NULL DEFAULT 0,
    filled_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (concurrency IS NOT NULL OR rate IS NOT NULL)
);
COMMENT ON COLUMN limits.concurrency IS 'units at work at a time; null: any';
COMMENT ON COLUMN limits.rate IS 'units begun in each period_s seconds; null: any';
COMMENT ON COLUMN limits.tokens IS 'units that could begin at once at filled_at; below zero: promised already';

-- Places of a limit that a run has taken. They hold as long as the lease under which they were taken.
CREATE TABLE limit_slots (
    limit_name  text NOT NULL REFERENCES limits (name) ON DELETE CASCADE,
    run_id      uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    lease_token bigint NOT NULL,
    slots       integer NOT NULL CHECK (slots >= 0),
    PRIMARY KEY (limit_name, run_id)
);
CREATE INDEX limit_slots_by_run ON limit_slots (run_id);
