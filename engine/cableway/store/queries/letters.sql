-- Dead letters that are worked on again: which ones, by which run, and what that run reads of them.

-- name: letters_to_replay
-- The open letters that are wanted, by run and stage, the oldest first and at most so many; items of a run and stage
-- come with all that failed of them. Those of a run in parts are its parts'.
WITH wanted AS (
    SELECT l.run_id, l.stage, l.item_id
    FROM {s}.dead_letters AS l JOIN {s}.runs AS r ON r.run_id = l.run_id
    WHERE l.state = 'open'
      AND (%(run_id)s::uuid IS NULL OR l.run_id = %(run_id)s OR r.parent_run_id = %(run_id)s)
      AND (%(letters)s::bigint[] IS NULL OR l.letter_id = ANY(%(letters)s))
      AND (%(pipeline)s::text IS NULL OR r.pipeline = %(pipeline)s)
      AND (%(pipelines)s::text[] IS NULL OR r.pipeline = ANY(%(pipelines)s))
      AND (%(stage)s::text IS NULL OR l.stage = %(stage)s)
      AND (%(bloc)s::text IS NULL OR l.bloc = %(bloc)s)
      AND (%(error_type)s::text IS NULL OR l.error_type = %(error_type)s)
    ORDER BY l.letter_id LIMIT %(limit)s
)
SELECT l.run_id::text AS run_id, l.stage, array_agg(l.letter_id ORDER BY l.letter_id) AS letters,
       count(*) FILTER (WHERE l.payload IS NULL AND l.payload_at IS NULL) AS without,
       array_agg(DISTINCT l.bloc) FILTER (WHERE l.shape = 'row') AS row_blocs
FROM (SELECT DISTINCT run_id, stage, item_id FROM wanted) AS w
JOIN {s}.dead_letters AS l ON l.run_id = w.run_id AND l.stage = w.stage AND l.item_id = w.item_id AND l.state = 'open'
GROUP BY l.run_id, l.stage ORDER BY min(l.letter_id)

-- name: letters_by_state
-- How many dead letters there are of a run, for whoever finds none that is open.
SELECT state, count(*)::int AS count FROM {s}.dead_letters
WHERE run_id = %(run_id)s GROUP BY state ORDER BY state

-- name: runs_to_replay
-- Runs with the versions that they were pinned to.
SELECT r.run_id::text AS run_id, r.pipeline, r.version, r.state, r.ended_at IS NOT NULL AS ended, r.line::text AS line,
       r.parts, v.document, v.document_format
FROM {s}.runs AS r
JOIN {s}.pipeline_versions AS v ON v.pipeline = r.pipeline AND v.version = r.version
WHERE r.run_id = ANY(%(run_ids)s::uuid[])

-- name: version_to_replay
-- What a replay is pinned to, where it is another version than that of the run that it replays.
SELECT v.version, v.document, v.document_format, v.run_settings AS settings
FROM {s}.pipeline_versions AS v JOIN {s}.pipelines AS p ON p.name = v.pipeline
WHERE v.pipeline = %(pipeline)s AND v.version = coalesce(%(version)s::integer, p.active_version)

-- name: record_replays
-- One run for each wish, with the letters that are still open, which it holds from now on. Where none is left there is no
-- run, unless it reads the whole source again. Who comes second waits here, and finds them taken.
WITH wishes AS (
    SELECT * FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (
        run_id uuid, replay_of uuid, stage text, whole boolean, line uuid, letters bigint[], facts jsonb)
), chosen AS (
    SELECT l.letter_id, w.run_id
    FROM wishes AS w JOIN {s}.dead_letters AS l ON l.letter_id = ANY(w.letters)
    WHERE l.state = 'open' AND l.run_id = w.replay_of
    ORDER BY l.letter_id FOR UPDATE OF l
), made AS (
    INSERT INTO {s}.runs (run_id, pipeline, version, parameters, line, replay_of, replay_stage, replay_whole, overlap,
                          overlap_key, has_place, lease_ttl_s, concurrency, max_attempts, backoff_initial_s,
                          backoff_factor, backoff_max_s, timeout_s, grace_s)
    SELECT w.run_id, o.pipeline, coalesce((w.facts ->> 'version')::integer, o.version), o.parameters,
           coalesce(w.line, o.line), o.run_id, w.stage, w.whole,
           CASE WHEN o.overlap = 'allow' THEN 'allow' ELSE 'queue_all' END, o.overlap_key, o.overlap = 'allow',
           coalesce((w.facts ->> 'lease_ttl_s')::float8, o.lease_ttl_s),
           coalesce((w.facts ->> 'concurrency')::integer, o.concurrency),
           coalesce((w.facts ->> 'max_attempts')::integer, o.max_attempts),
           coalesce((w.facts ->> 'backoff_initial_s')::float8, o.backoff_initial_s),
           coalesce((w.facts ->> 'backoff_factor')::float8, o.backoff_factor),
           coalesce((w.facts ->> 'backoff_max_s')::float8, o.backoff_max_s),
           CASE WHEN w.facts IS NULL THEN o.timeout_s ELSE (w.facts ->> 'timeout_s')::float8 END,
           coalesce((w.facts ->> 'grace_s')::float8, o.grace_s)
    FROM wishes AS w JOIN {s}.runs AS o ON o.run_id = w.replay_of
    WHERE o.ended_at IS NOT NULL AND (w.whole OR w.run_id IN (SELECT run_id FROM chosen))
    RETURNING run_id, replay_stage
), taken AS (
    UPDATE {s}.dead_letters AS l SET state = 'replaying', replay_run_id = c.run_id
    FROM chosen AS c WHERE l.letter_id = c.letter_id AND c.run_id IN (SELECT run_id FROM made)
    RETURNING l.replay_run_id
), told AS (
    SELECT pg_notify('cableway_launch', {schema}) FROM made LIMIT 1
)
SELECT m.run_id::text AS run_id, m.replay_stage AS stage,
       (SELECT count(*) FROM taken AS t WHERE t.replay_run_id = m.run_id)::int AS letters,
       (SELECT count(*) FROM told) AS told
FROM made AS m ORDER BY m.run_id

-- name: retry_run
-- A run that ended without success gets one more attempt, and its time anew. In any other state it stays as it is, and so
-- does one with parts, which nobody works on.
WITH asked AS (
    SELECT run_id, state, CASE WHEN part IS NULL THEN parts END AS parts FROM {s}.runs
    WHERE run_id = %(run_id)s FOR UPDATE
), changed AS (
    UPDATE {s}.runs AS r
    SET state = 'queued', ended_at = NULL, exit_code = NULL, error = NULL, started_at = NULL, not_before = NULL,
        has_place = r.overlap = 'allow', launch_failures = 0, failing_since = NULL, launching_since = NULL,
        cancel_asked_at = NULL, cancelled_by = NULL,
        max_attempts = 1 + r.tries
    FROM asked AS a
    WHERE r.run_id = a.run_id AND a.parts IS NULL
      AND a.state IN ('failed', 'interrupted', 'crashed', 'cancelled', 'timed_out')
    RETURNING r.run_id
), told AS (
    SELECT pg_notify('cableway_launch', {schema}) FROM changed
)
SELECT a.state, a.parts, EXISTS (SELECT FROM changed) AS retried, (SELECT count(*) FROM told) AS told FROM asked AS a

-- name: take_letters
-- A replay that goes on takes back what it had; a run that works on everything again, its own (all).
WITH held AS (
    SELECT run_id FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
), taken AS (
    UPDATE {s}.dead_letters AS l SET state = 'replaying', replay_run_id = held.run_id
    FROM held
    WHERE l.state = 'open' AND (l.replay_run_id = held.run_id OR %(all)s AND l.run_id = held.run_id)
)
SELECT true AS held FROM held

-- name: replayed_items
-- The items that a replay works on, in the order in which they failed, a page at a time.
WITH held AS (
    SELECT run_id FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling')
)
SELECT l.letter_id, l.item_id, l.bloc, l.shape, l.payload, l.payload_at, l.frames
FROM held JOIN {s}.dead_letters AS l ON l.replay_run_id = held.run_id
WHERE l.state = 'replaying' AND l.letter_id > %(after)s
  AND NOT EXISTS (SELECT FROM {s}.dead_letters AS b
                  WHERE b.run_id = l.run_id AND b.stage = l.stage AND b.item_id = l.item_id
                    AND b.replay_run_id = l.replay_run_id AND b.letter_id < l.letter_id)
ORDER BY l.letter_id LIMIT %(limit)s
