-- Lines: what exactly-once is counted over. A run has its own, or is put on that of a cursor.

COMMENT ON TABLE cursors IS 'how far the source of a line was worked off; with a loader the line is that of a cursor';
COMMENT ON COLUMN cursors.epoch IS 'counts the lines of a loader; setting or resetting its state opens the next one. Those of backfills count down from -1';
COMMENT ON COLUMN cursors.position IS 'lap, plan, position, counts below it, and what the next lap begins with';

-- What the parts of a run load is planned once, by the first of them.
ALTER TABLE runs ADD COLUMN shares jsonb;
COMMENT ON COLUMN runs.shares IS 'of a run with parts: what each of them loads, in their order';
CREATE INDEX runs_open_wholes ON runs (run_id) WHERE ended_at IS NULL AND parts IS NOT NULL AND part IS NULL;

-- A run is put on a line while it is claimed; who holds one is found by it.
CREATE INDEX runs_open_by_line ON runs (line) WHERE ended_at IS NULL;
