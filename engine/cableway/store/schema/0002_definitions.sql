-- Definitions that are changed and gone back on, schedulers, and bloc types whose code is elsewhere.

-- What two who change a row at the same time compare: who comes second is told.
ALTER TABLE blocs ADD COLUMN revision integer NOT NULL DEFAULT 1;
ALTER TABLE triggers ADD COLUMN revision integer NOT NULL DEFAULT 1;

ALTER TABLE triggers ADD COLUMN from_document boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN triggers.from_document IS 'its pipeline''s document lists it, and takes it along when it changes';

ALTER TABLE pipeline_versions
    ADD COLUMN previous_version integer CHECK (previous_version < version),
    ADD COLUMN bloc_names text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN pipeline_versions.previous_version IS 'what was active when it was made, to go back to';
COMMENT ON COLUMN pipeline_versions.bloc_names IS 'the stored blocs that its source names';

UPDATE pipeline_versions SET previous_version = nullif(version - 1, 0);
UPDATE pipeline_versions AS v
SET bloc_names = ARRAY(
    SELECT DISTINCT found #>> '{}'
    FROM (
        SELECT jsonb_path_query(v.source::jsonb, '$.stages[*][*] ? (@.type() == "string")') AS found
        UNION
        SELECT jsonb_path_query(v.source::jsonb, '$.stages[*].blocs[*] ? (@.type() == "string")')
    ) AS named
    WHERE NOT coalesce(v.source::jsonb -> 'blocs' ? (found #>> '{}'), false)
)
WHERE v.source IS NOT NULL;
-- What is checked at the end of a transaction would keep later statements from the table.
SET CONSTRAINTS ALL IMMEDIATE;

CREATE INDEX versions_by_bloc ON pipeline_versions USING gin (bloc_names);

CREATE TABLE schedulers (
    name                 text PRIMARY KEY,
    pipeline             text NOT NULL,
    trigger_name         text NOT NULL REFERENCES triggers (name),
    parameters           json NOT NULL,
    timezone             text NOT NULL,
    dst_gap              text NOT NULL CHECK (dst_gap IN ('run', 'skip')),
    catchup              text NOT NULL CHECK (catchup IN ('none', 'latest', 'all')),
    catchup_window_s     double precision NOT NULL CHECK (catchup_window_s >= 0),
    max_catchup_runs     integer NOT NULL CHECK (max_catchup_runs BETWEEN 1 AND 100),
    overlap              text CHECK (overlap IN ('skip', 'queue_one', 'queue_all', 'replace', 'allow')),
    jitter_s             double precision NOT NULL CHECK (jitter_s >= 0),
    starts_at            timestamptz,
    ends_at              timestamptz CHECK (ends_at > starts_at),
    paused               boolean NOT NULL,
    pause_note           text NOT NULL,
    pause_after_failures integer CHECK (pause_after_failures >= 1),
    from_document        boolean NOT NULL DEFAULT false,
    revision             integer NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schedulers IS 'each ties a cron trigger to a pipeline, which need not be there yet';
COMMENT ON COLUMN schedulers.overlap IS 'null: as the pipeline says';

CREATE INDEX schedulers_by_trigger ON schedulers (trigger_name);

-- So that definitions can be checked where the code of their types is not installed.
CREATE TABLE bloc_types (
    name         text PRIMARY KEY,
    description  json NOT NULL,
    version      text NOT NULL,
    content_hash text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
