-- What records runs: the versions that they are pinned to, and the runs themselves.

-- name: active_versions
-- What new runs of some pipelines are pinned to.
SELECT (SELECT max(number) FROM {s}.migrations) AS schema_number, p.name AS pipeline,
       p.archived_at IS NOT NULL AS archived, v.version, v.run_parameters::text AS parameters,
       v.run_settings::text AS settings
FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = p.active_version
WHERE p.name = ANY(%(pipelines)s)

-- name: pipeline_names
-- Some pipelines that there are, for whoever asked for another.
SELECT name FROM {s}.pipelines WHERE archived_at IS NULL ORDER BY name LIMIT 20

-- name: commit_durably
-- For this transaction: it is told as committed when it is on disk, whatever the server does by default.
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'

-- name: lock_overlaps
-- Who decides by what other runs of these pipelines there are comes one after the other, and nobody else waits. Rows are
-- locked, in one order, since a server has only so many locks of other kinds.
SELECT FROM {s}.pipelines WHERE name = ANY(%(pipelines)s) ORDER BY name FOR NO KEY UPDATE

-- name: record_plain_runs
-- The runs that are made of wishes whose policies look at no other runs; the rest have been made before, by these
-- wishes or by their keys. What the versions say stands once for each pipeline. Committed durably, as above, whatever
-- the server does by default: of a statement that is sent alone so often, the one before it would be felt.
WITH durably AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
), facts AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(facts)s::jsonb) AS f (
        pipeline text, version integer, lease_ttl_s float8, concurrency integer, max_attempts integer,
        backoff_initial_s float8, backoff_factor float8, backoff_max_s float8, timeout_s float8, grace_s float8)
), wishes AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (
        n integer, run_id uuid, pipeline text, parameters jsonb, key text, body_hash text, line uuid,
        parent_run_id uuid, part integer, parts integer, replay_of uuid, scheduler_name text, trigger_name text,
        scheduled_at timestamptz, not_before timestamptz, traceparent text, tracestate text, overlap text,
        overlap_key text)
    JOIN facts AS f USING (pipeline)
    WHERE (SELECT count(*) FROM durably) <= 1
), made AS (
    INSERT INTO {s}.runs (run_id, pipeline, version, parameters, key, line, lease_ttl_s, parent_run_id, part, parts,
                          replay_of, scheduler_name, trigger_name, scheduled_at, not_before, traceparent, tracestate,
                          overlap, has_place, overlap_key, concurrency, max_attempts, backoff_initial_s,
                          backoff_factor, backoff_max_s, timeout_s, grace_s)
    SELECT run_id, pipeline, version, parameters, key, line, lease_ttl_s, parent_run_id, part, parts, replay_of,
           scheduler_name, trigger_name, scheduled_at, not_before, traceparent, tracestate, overlap,
           overlap = 'allow', overlap_key, concurrency, max_attempts, backoff_initial_s, backoff_factor,
           backoff_max_s, timeout_s, grace_s
    FROM wishes ORDER BY n
    ON CONFLICT DO NOTHING
    RETURNING run_id
), delivered AS (
    INSERT INTO {s}.deliveries (trigger_name, key, body_hash, run_id)
    SELECT w.trigger_name, w.key, w.body_hash, w.run_id FROM made JOIN wishes AS w ON w.run_id = made.run_id
    WHERE w.body_hash IS NOT NULL
)
SELECT array_agg(run_id::text) AS run_ids FROM made

-- name: record_runs
-- What becomes of wishes of different keys: the runs made now, those that a key had made before, and those that the
-- overlap policy does not want. Of a wish that is none of these, another transaction has just made the run. Sent
-- again, it finds what it made. The tables are looked into for one wish after the other: nobody knows how large they
-- will be while a plan is kept, and a join might read them whole.
WITH wishes AS (
    SELECT w.*, k.known,
           row_number() OVER (PARTITION BY w.pipeline, w.overlap_key, k.known IS NULL ORDER BY w.n) AS place,
           row_number() OVER (PARTITION BY w.pipeline, w.overlap_key, k.known IS NULL ORDER BY w.n DESC)
               AS place_from_end
    FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (
        n integer, run_id uuid, pipeline text, parameters jsonb, key text, body_hash text, line uuid,
        parent_run_id uuid, part integer, parts integer, replay_of uuid, scheduler_name text, trigger_name text,
        scheduled_at timestamptz, not_before timestamptz, traceparent text, tracestate text, overlap text,
        overlap_key text, version integer, lease_ttl_s float8, concurrency integer, max_attempts integer,
        backoff_initial_s float8, backoff_factor float8, backoff_max_s float8, timeout_s float8, grace_s float8)
    CROSS JOIN LATERAL (
        SELECT coalesce((SELECT run_id FROM {s}.runs WHERE run_id = w.run_id),
                        (SELECT run_id FROM {s}.runs WHERE pipeline = w.pipeline AND key = w.key)) AS known
        OFFSET 0
    ) AS k
), decided AS (
    SELECT w.*, CASE WHEN w.overlap IN ('skip', 'queue_one')
                THEN w.place + (SELECT count(*) FROM {s}.runs AS r
                                WHERE r.pipeline = w.pipeline AND r.overlap_key = w.overlap_key
                                  AND r.ended_at IS NULL AND r.overlap <> 'allow')
                     <= w.concurrency + (w.overlap = 'queue_one')::integer
                ELSE true END AS wanted,
           w.overlap = 'replace' AND w.place_from_end > w.concurrency AS replaced
    FROM wishes AS w WHERE w.known IS NULL
), made AS (
    INSERT INTO {s}.runs (run_id, pipeline, version, state, parameters, key, line, lease_ttl_s, parent_run_id, part,
                          parts, replay_of, scheduler_name, trigger_name, scheduled_at, not_before, traceparent,
                          tracestate, overlap, has_place, overlap_key, concurrency, max_attempts, backoff_initial_s,
                          backoff_factor, backoff_max_s, timeout_s, grace_s, ended_at, cancel_asked_at, cancelled_by,
                          exit_code)
    SELECT run_id, pipeline, version, CASE WHEN replaced THEN 'cancelled' ELSE 'queued' END, parameters, key, line,
           lease_ttl_s, parent_run_id, part, parts, replay_of, scheduler_name, trigger_name, scheduled_at, not_before,
           traceparent, tracestate, overlap, overlap = 'allow', overlap_key, concurrency, max_attempts, backoff_initial_s,
           backoff_factor, backoff_max_s, timeout_s, grace_s, CASE WHEN replaced THEN clock_timestamp() END,
           CASE WHEN replaced THEN clock_timestamp() END, CASE WHEN replaced THEN 'overlap' END,
           CASE WHEN replaced THEN 3 END
    FROM decided WHERE wanted ORDER BY n
    ON CONFLICT DO NOTHING
    RETURNING run_id
), delivered AS (
    INSERT INTO {s}.deliveries (trigger_name, key, body_hash, run_id)
    SELECT trigger_name, key, body_hash, run_id FROM decided
    WHERE body_hash IS NOT NULL AND run_id = ANY(ARRAY(SELECT run_id FROM made))
), ousted AS (
    UPDATE {s}.runs AS r
    SET state = CASE WHEN r.state IN ('queued', 'launching') THEN 'cancelled' ELSE 'cancelling' END,
        ended_at = CASE WHEN r.state IN ('queued', 'launching') THEN clock_timestamp() END,
        exit_code = CASE WHEN r.state IN ('queued', 'launching') THEN 3 END,
        cancel_asked_at = coalesce(r.cancel_asked_at, clock_timestamp()),
        cancelled_by = coalesce(r.cancelled_by, 'overlap')
    FROM (
        SELECT d.pipeline, d.overlap_key, max(d.concurrency) AS concurrency, count(*) AS newcomers
        FROM decided AS d
        WHERE d.overlap = 'replace' AND d.run_id = ANY(ARRAY(SELECT run_id FROM made))
        GROUP BY d.pipeline, d.overlap_key
    ) AS n
    CROSS JOIN LATERAL (
        SELECT o.run_id FROM {s}.runs AS o
        WHERE o.pipeline = n.pipeline AND o.overlap_key = n.overlap_key AND o.overlap <> 'allow'
          AND o.ended_at IS NULL
        ORDER BY o.created_at DESC, o.run_id DESC OFFSET greatest(0, n.concurrency - n.newcomers)
    ) AS old
    WHERE r.run_id = old.run_id AND r.ended_at IS NULL
    RETURNING r.run_id, r.state
), unlaunched AS (
    UPDATE {s}.kept_attempts AS a SET state = 'cancelled', ended_at = clock_timestamp(), reason = 'replaced by a later run'
    FROM ousted AS o WHERE a.run_id = o.run_id AND o.state = 'cancelled' AND a.state = 'launching'
), told AS (
    SELECT count(pg_notify('cableway_cancel', {schema} || '.' || run_id)) AS times
    FROM ousted WHERE state = 'cancelling'
)
SELECT NULL::integer AS n, run_id::text AS run_id, NULL AS body_hash, 'made' AS outcome FROM made
UNION ALL
SELECT w.n, w.known::text, (SELECT body_hash FROM {s}.deliveries AS d WHERE d.run_id = w.known),
       CASE WHEN w.known = w.run_id THEN 'made' ELSE 'known' END
FROM wishes AS w WHERE w.known IS NOT NULL
UNION ALL
SELECT n, NULL, NULL, 'unwanted' FROM decided WHERE NOT wanted
UNION ALL
SELECT times, NULL, NULL, 'told' FROM told

-- name: runs_of_keys
-- The runs that some wishes, or their keys, have made.
SELECT w.n, r.run_id::text AS run_id, (SELECT d.body_hash FROM {s}.deliveries AS d WHERE d.run_id = r.run_id) AS body_hash,
       CASE WHEN r.run_id = w.run_id THEN 'made' ELSE 'known' END AS outcome
FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (n integer, run_id uuid, pipeline text, key text)
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT run_id FROM {s}.runs WHERE run_id = w.run_id),
                    (SELECT run_id FROM {s}.runs WHERE pipeline = w.pipeline AND key = w.key)) AS run_id
    OFFSET 0
) AS r
WHERE r.run_id IS NOT NULL
