-- Which instants of a schedule were decided, and how.

ALTER TABLE schedulers
    ADD COLUMN scheduler_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    ADD COLUMN decided_to   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN next_at      timestamptz DEFAULT clock_timestamp(),
    ADD COLUMN active_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN error        text;
-- Somebody may write a row by hand, and a program has no words for all of Postgres's times.
ALTER TABLE schedulers ADD CONSTRAINT times_of_our_era CHECK (
    starts_at BETWEEN '1970-01-01+00' AND '9998-12-31+00' AND ends_at BETWEEN '1970-01-01+00' AND '9998-12-31+00'
    AND decided_to BETWEEN '1970-01-01+00' AND '9998-12-31+00' AND next_at BETWEEN '1970-01-01+00' AND '9998-12-31+00'
);
COMMENT ON COLUMN schedulers.scheduler_id IS 'with the instant, what a tick is known by; another one under the same name has another';
COMMENT ON COLUMN schedulers.decided_to IS 'its ticks up to this instant are decided, and are never again';
COMMENT ON COLUMN schedulers.next_at IS 'when it is looked at next, on its next tick or before; null: not before it changes';
COMMENT ON COLUMN schedulers.active_since IS 'runs that failed before do not count towards pause_after_failures';
COMMENT ON COLUMN schedulers.error IS 'why nobody can say when it is due';

CREATE INDEX schedulers_by_next ON schedulers (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedulers_faulty ON schedulers (name) WHERE error IS NOT NULL;
CREATE INDEX schedulers_watched ON schedulers (name) WHERE pause_after_failures IS NOT NULL AND NOT paused;

-- A tick that made a run is a row; ticks of a scheduler that made none for one reason share a row. They stay when the
-- scheduler goes.
CREATE TABLE ticks (
    scheduler_id   uuid NOT NULL,
    tick_from      timestamptz NOT NULL,
    tick_to        timestamptz NOT NULL CHECK (tick_to >= tick_from),
    count          bigint NOT NULL CHECK (count >= 1),
    scheduler_name text NOT NULL,
    pipeline       text NOT NULL,
    reason         text CHECK (reason IN (
        'overlap', 'deadline', 'catchup_limit', 'dst_gap', 'paused', 'no_pipeline', 'refused'
    )),
    run_id         uuid,
    detail         text,
    decided_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scheduler_id, tick_from),
    CHECK ((run_id IS NULL) = (reason IS NOT NULL)),
    CHECK (run_id IS NULL OR (count = 1 AND tick_from = tick_to))
);
COMMENT ON COLUMN ticks.reason IS 'why there was no run; null where there was one';
-- Rows come in this order, so an index of a few pages finds the old ones.
CREATE INDEX ticks_by_decision ON ticks USING brin (decided_at);

ALTER TABLE runs ADD COLUMN backfill_id uuid;
COMMENT ON COLUMN runs.backfill_id IS 'the backfill that asked for it';
CREATE INDEX runs_by_scheduler ON runs (scheduler_name, created_at DESC) WHERE scheduler_name IS NOT NULL;
CREATE INDEX runs_by_backfill ON runs (backfill_id) WHERE backfill_id IS NOT NULL;
