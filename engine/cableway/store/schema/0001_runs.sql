-- Definitions, runs and what hangs on them. Runs inside one transaction, with the search path on our schema.

-- Attempts of one line are ordered by their tokens, so all of a database's come from one sequence.
CREATE SEQUENCE lease_tokens AS bigint;

CREATE TABLE blocs (
    name        text PRIMARY KEY,
    bloc_type   text NOT NULL,
    config      json NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pipelines (
    name           text PRIMARY KEY,
    active_version integer NOT NULL,
    archived_at    timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

-- Documents are json, not jsonb: they keep their order and their numbers as they were written.
CREATE TABLE pipeline_versions (
    pipeline        text NOT NULL REFERENCES pipelines (name) DEFERRABLE INITIALLY DEFERRED,
    version         integer NOT NULL CHECK (version >= 1),
    document        json NOT NULL,
    document_format integer NOT NULL,
    content_hash    text NOT NULL,
    source          json,
    author          text NOT NULL DEFAULT '',
    note            text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, version)
);
COMMENT ON COLUMN pipeline_versions.document IS 'normalised, with every bloc resolved';
COMMENT ON COLUMN pipeline_versions.document_format IS '0: not checked against the bloc types when it was saved';
COMMENT ON COLUMN pipeline_versions.source IS 'as it was written, with blocs by reference';

ALTER TABLE pipelines ADD FOREIGN KEY (name, active_version)
    REFERENCES pipeline_versions (pipeline, version) DEFERRABLE INITIALLY DEFERRED;

-- A trigger may name a pipeline that is not there yet, so that column refers to nothing.
CREATE TABLE triggers (
    name       text PRIMARY KEY,
    pipeline   text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('cron', 'webhook', 'event', 'person')),
    expression text,
    config     json NOT NULL,
    enabled    boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'cron') = (expression IS NOT NULL))
);

CREATE TABLE runs (
    run_id           uuid PRIMARY KEY,
    pipeline         text NOT NULL,
    version          integer NOT NULL,
    state            text NOT NULL DEFAULT 'queued',
    parameters       jsonb NOT NULL,
    key              text,
    line             uuid NOT NULL,
    parent_run_id    uuid REFERENCES runs,
    part             integer,
    parts            integer,
    replay_of        uuid REFERENCES runs,
    scheduler_name   text,
    trigger_name     text,
    scheduled_at     timestamptz,
    traceparent      text,
    tracestate       text,
    trace_id         text,
    attempt          integer NOT NULL DEFAULT 0,
    lease_ttl_s      double precision NOT NULL CHECK (lease_ttl_s > 0),
    lease_token      bigint,
    lease_expires_at timestamptz,
    claim_id         uuid,
    exit_code        integer,
    counts           jsonb,
    rows_in          bigint NOT NULL DEFAULT 0,
    rows_out         bigint NOT NULL DEFAULT 0,
    spans_dropped    bigint NOT NULL DEFAULT 0,
    outputs          jsonb,
    error            jsonb,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at       timestamptz,
    ended_at         timestamptz,
    FOREIGN KEY (pipeline, version) REFERENCES pipeline_versions,
    UNIQUE (pipeline, key),
    UNIQUE (parent_run_id, part),
    CONSTRAINT known_state CHECK (state IN (
        'queued', 'launching', 'running', 'succeeded', 'completed_with_errors', 'failed',
        'cancelling', 'cancelled', 'timed_out', 'interrupted', 'crashed'
    )),
    CONSTRAINT running_has_a_lease CHECK (state <> 'running' OR lease_expires_at IS NOT NULL),
    CONSTRAINT ended_has_no_lease CHECK (state NOT IN (
        'succeeded', 'completed_with_errors', 'failed', 'cancelled', 'timed_out', 'interrupted', 'crashed'
    ) OR (lease_expires_at IS NULL AND ended_at IS NOT NULL)),
    CONSTRAINT part_of_parts CHECK ((part IS NULL) = (parent_run_id IS NULL))
);
COMMENT ON COLUMN runs.key IS 'of the trigger: a second run with it is the same run';
COMMENT ON COLUMN runs.lease_token IS 'of the last attempt, kept after its end; lease_expires_at says whether it holds';
COMMENT ON COLUMN runs.claim_id IS 'so that a claim whose answer was lost can be asked again';

CREATE INDEX runs_by_pipeline ON runs (pipeline, created_at DESC);
CREATE INDEX runs_by_creation ON runs (created_at DESC);
CREATE INDEX runs_by_line ON runs (line);
CREATE INDEX runs_by_origin ON runs (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX runs_open ON runs (state, created_at)
    WHERE state IN ('queued', 'launching', 'running', 'cancelling', 'interrupted', 'crashed');

CREATE TABLE attempts (
    run_id      uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt     integer NOT NULL,
    state       text NOT NULL CHECK (state IN (
        'launching', 'running', 'succeeded', 'completed_with_errors', 'failed',
        'cancelled', 'timed_out', 'interrupted', 'crashed'
    )),
    lease_token bigint,
    external_id text,
    exit_code   integer,
    reason      text,
    trace_id    text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at  timestamptz,
    ended_at    timestamptz,
    PRIMARY KEY (run_id, attempt)
);

CREATE TABLE run_stages (
    run_id    uuid NOT NULL,
    attempt   integer NOT NULL,
    position  integer NOT NULL,
    stage     text NOT NULL,
    bloc      text,
    lane      text NOT NULL,
    items     bigint NOT NULL,
    rows      bigint NOT NULL,
    failed    bigint NOT NULL,
    skipped   bigint NOT NULL,
    retries   bigint NOT NULL,
    work_s    double precision NOT NULL,
    wait_s    double precision NOT NULL,
    blocked_s double precision NOT NULL,
    workers   integer NOT NULL,
    PRIMARY KEY (run_id, attempt, position),
    FOREIGN KEY (run_id, attempt) REFERENCES attempts ON DELETE CASCADE
);

CREATE TABLE dead_letters (
    letter_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt       integer NOT NULL,
    item_id       text NOT NULL,
    stage         text NOT NULL,
    bloc          text NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replaying', 'resolved')),
    error_type    text NOT NULL,
    message       text NOT NULL,
    stack         text,
    attempts      integer NOT NULL,
    payload       jsonb,
    payload_bytes bigint NOT NULL,
    trace_id      text,
    span_id       text,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (run_id, stage, bloc, item_id)
);

-- One row for each line: where the next attempt, or the next run of the line, goes on reading.
CREATE TABLE cursors (
    line        uuid PRIMARY KEY,
    pipeline    text NOT NULL,
    loader      text,
    epoch       integer NOT NULL DEFAULT 0,
    position    jsonb NOT NULL,
    run_id      uuid,
    lease_token bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (pipeline, loader, epoch)
);

CREATE TABLE deliveries (
    trigger_name text NOT NULL,
    key          text NOT NULL,
    body_hash    text NOT NULL,
    run_id       uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (trigger_name, key)
);
CREATE INDEX deliveries_by_run ON deliveries (run_id);

CREATE TABLE spans (
    run_id         uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt        integer NOT NULL,
    trace_id       text NOT NULL,
    span_id        text NOT NULL,
    parent_span_id text,
    name           text NOT NULL,
    kind           text NOT NULL,
    start_ns       bigint NOT NULL,
    end_ns         bigint NOT NULL,
    status         text NOT NULL,
    attributes     jsonb NOT NULL,
    events         jsonb NOT NULL,
    PRIMARY KEY (run_id, span_id)
);
