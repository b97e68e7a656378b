-- The lines of cursors: which one a run holds, what of it failed before, and what a person does to it.

-- name: make_line
-- The first line of a pipeline's loader, where it has none but those of backfills, whose epochs are below 0.
INSERT INTO {s}.cursors (line, pipeline, loader, epoch, position, lease_token)
SELECT gen_random_uuid(), r.pipeline, %(loader)s, 0, '{}', 0
FROM {s}.runs AS r
WHERE r.run_id = %(run_id)s AND r.lease_token = %(token)s AND r.state IN ('running', 'cancelling')
  AND NOT EXISTS (SELECT FROM {s}.cursors AS c WHERE c.pipeline = r.pipeline AND c.loader = %(loader)s
                                                         AND c.epoch >= 0)
ON CONFLICT (pipeline, loader, epoch) DO NOTHING

-- name: lock_line
-- Who comes second sees what the first one did.
SELECT line FROM {s}.cursors
WHERE pipeline = (SELECT pipeline FROM {s}.runs WHERE run_id = %(run_id)s) AND loader = %(loader)s
ORDER BY epoch DESC FOR UPDATE

-- name: take_line
-- Put a run, or the whole that it is a part of, on the newest line of its pipeline's loader, unless another run with a
-- live lease is on it, or one whose parts have not all ended (0 s: nobody works on any). A run that is on one of its
-- lines stays there, nobody else comes on the line of a backfill, and no whole where another run has left a lap open.
WITH held AS (
    SELECT w.run_id, w.pipeline, w.line
    FROM {s}.runs AS r JOIN {s}.runs AS w ON w.run_id = coalesce(r.parent_run_id, r.run_id)
    WHERE r.run_id = %(run_id)s AND r.lease_token = %(token)s AND r.state IN ('running', 'cancelling')
), chosen AS (
    SELECT c.line, c.position
    FROM held JOIN {s}.cursors AS c ON c.pipeline = held.pipeline AND c.loader = %(loader)s
                                     AND (c.epoch >= 0 OR c.line = held.line)
    ORDER BY c.line = held.line DESC, c.epoch DESC LIMIT 1
), other AS (
    SELECT max(greatest(extract(epoch FROM coalesce(p.lease_expires_at, r.lease_expires_at) - clock_timestamp()), 0)
               )::float8 AS busy_s
    FROM {s}.runs AS r CROSS JOIN held JOIN chosen ON r.line = chosen.line
    LEFT JOIN {s}.runs AS p ON p.parent_run_id = r.run_id AND p.ended_at IS NULL
    WHERE r.run_id <> held.run_id AND r.ended_at IS NULL AND r.state IN ('running', 'cancelling')
      AND (r.lease_expires_at > clock_timestamp() OR r.parts IS NOT NULL AND r.part IS NULL)
), taken AS (
    UPDATE {s}.runs AS r SET line = chosen.line FROM held, chosen, other
    WHERE r.run_id = held.run_id AND r.line <> chosen.line AND other.busy_s IS NULL
      AND (r.lease_token = %(token)s OR r.run_id <> %(run_id)s)
      AND (held.run_id = %(run_id)s OR chosen.position -> 'plan' IS NULL OR chosen.position -> 'complete' = 'true')
)
SELECT chosen.line::text AS line, chosen.position AS cursor, other.busy_s, held.run_id::text AS run_id
FROM held, chosen, other

-- name: dead_units
-- What failed for good on the line of a run, in this run or in others, and is not worked on again by it. To a replay only
-- its own letters count. Said with it: whether a replay has brought it through, and whether it failed in this run.
SELECT l.stage, l.bloc, l.item_id, bool_and(l.state = 'resolved') AS resolved, bool_or(l.run_id = held.run_id) AS own
FROM {s}.runs AS held
JOIN {s}.runs AS r ON r.line = held.line AND (held.replay_of IS NULL OR r.run_id = held.run_id)
JOIN {s}.dead_letters AS l ON l.run_id = r.run_id
                          AND NOT (l.state = 'replaying' AND l.replay_run_id IS NOT DISTINCT FROM held.run_id)
WHERE held.run_id = %(run_id)s AND held.lease_token = %(token)s AND starts_with(l.item_id, %(prefix)s)
GROUP BY l.stage, l.bloc, l.item_id

-- name: show_lines
-- The lines of a pipeline's cursors, the newest of each loader first.
SELECT c.loader, c.epoch, c.line::text AS line, c.position AS cursor, c.run_id::text AS run_id, c.updated_at,
       r.state AS run_state, r.lease_expires_at > clock_timestamp() AND r.state IN ('running', 'cancelling') AS held
FROM {s}.cursors AS c LEFT JOIN {s}.runs AS r ON r.run_id = c.run_id
WHERE c.pipeline = %(pipeline)s AND c.loader IS NOT NULL
ORDER BY c.loader, c.epoch DESC

-- name: open_epoch
-- A new line for a pipeline's loader, from the state given. Runs that begin from now on are on it.
WITH newest AS (
    SELECT greatest(max(epoch), -1) AS epoch FROM {s}.cursors WHERE pipeline = %(pipeline)s AND loader = %(loader)s
)
INSERT INTO {s}.cursors (line, pipeline, loader, epoch, position, lease_token)
SELECT %(line)s, %(pipeline)s, %(loader)s, newest.epoch + 1, %(position)s::jsonb, 0 FROM newest
ON CONFLICT DO NOTHING
RETURNING line::text AS line, epoch

-- name: open_backfill_epoch
-- A new line beside those that the runs of a pipeline's loader go on with.
INSERT INTO {s}.cursors (line, pipeline, loader, epoch, position, lease_token)
SELECT %(line)s, %(pipeline)s, %(loader)s, least(min(epoch), 0) - 1, '{}', 0
FROM {s}.cursors WHERE pipeline = %(pipeline)s AND loader = %(loader)s
ON CONFLICT DO NOTHING
RETURNING epoch
