-- Dead letters that are worked on again, and the runs that do so.

ALTER TABLE runs
    ADD COLUMN replay_stage text,
    ADD COLUMN replay_whole boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN runs.replay_stage IS 'of a replay: the stage that it begins with';
COMMENT ON COLUMN runs.replay_whole IS 'of a replay: it reads the whole source again, instead of dead letters';

ALTER TABLE dead_letters
    ADD COLUMN replay_run_id uuid REFERENCES runs ON DELETE SET NULL,
    ADD COLUMN shape text NOT NULL DEFAULT 'data' CHECK (shape IN ('data', 'row')),
    ADD COLUMN frames jsonb,
    ADD COLUMN payload_at text;
COMMENT ON COLUMN dead_letters.replay_run_id IS 'the run that works on it again, or did last';
COMMENT ON COLUMN dead_letters.shape IS 'row: the payload is one row that a bloc refused, not an item''s data by bloc';
COMMENT ON COLUMN dead_letters.frames IS 'what tables in the payload were: their library and their schema';
COMMENT ON COLUMN dead_letters.payload_at IS 'where a payload is that was too large for its row';
CREATE INDEX letters_by_replay ON dead_letters (replay_run_id, letter_id) WHERE replay_run_id IS NOT NULL;

-- Whatever statement ends a run: letters that it was to work on and that did not fail again are done where it went
-- through, and open where it did not.
CREATE FUNCTION settle_letters() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE dead_letters
    SET state = CASE WHEN NEW.state IN ('succeeded', 'completed_with_errors') THEN 'resolved' ELSE 'open' END
    WHERE replay_run_id = NEW.run_id AND state = 'replaying';
    RETURN NULL;
END
$$;
CREATE TRIGGER letters_settled AFTER UPDATE OF ended_at ON runs
    FOR EACH ROW
    WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL AND (NEW.replay_of IS NOT NULL OR NEW.attempt > 1))
    EXECUTE FUNCTION settle_letters();
