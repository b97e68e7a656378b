-- What records runs: the versions that they are pinned to, and the runs themselves.

-- name: active_versions
-- What new runs of some pipelines are pinned to.
SELECT (SELECT max(number) FROM {s}.migrations) AS schema_number, p.name AS pipeline,
       p.archived_at IS NOT NULL AS archived, v.version, v.run_parameters AS parameters, v.run_settings AS settings
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
-- Who decides by what other runs of these pipelines there are comes one after the other. Pipelines share a bounded
-- number of locks, taken in one order, for a server has only so many.
SELECT pg_advisory_xact_lock(hashtext('cableway.overlap:' || {schema}), bucket)
FROM (SELECT DISTINCT hashtext(pipeline) & 127 AS bucket FROM unnest(%(pipelines)s::text[]) AS pipeline
      ORDER BY 1 OFFSET 0) AS buckets

-- name: record_runs
-- For each wish the run that it led to: made now, or made by its key before, or none where the overlap policy says so.
-- No run and no refusal: another transaction has just made one of that key. Sent again, it finds what it made.
WITH wishes AS (
    SELECT w.*, v.version, v.lease_ttl_s, v.concurrency, v.max_attempts, v.backoff_initial_s, v.backoff_factor,
           v.backoff_max_s, v.timeout_s, v.grace_s,
           row_number() OVER (PARTITION BY w.pipeline, coalesce(w.key, w.run_id::text) ORDER BY w.n) AS mention
    FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (
        n integer, run_id uuid, pipeline text, parameters jsonb, key text, body_hash text, line uuid,
        parent_run_id uuid, part integer, parts integer, replay_of uuid, scheduler_name text, trigger_name text,
        scheduled_at timestamptz, not_before timestamptz, traceparent text, tracestate text, overlap text,
        overlap_key text)
    JOIN jsonb_to_recordset(%(versions)s::jsonb) AS v (
        pipeline text, version integer, lease_ttl_s float8, concurrency integer, max_attempts integer,
        backoff_initial_s float8, backoff_factor float8, backoff_max_s float8, timeout_s float8, grace_s float8)
        ON v.pipeline = w.pipeline
), known AS (
    SELECT w.n, r.run_id FROM wishes AS w JOIN {s}.runs AS r ON r.run_id = w.run_id
    UNION
    SELECT w.n, r.run_id FROM wishes AS w JOIN {s}.runs AS r ON r.pipeline = w.pipeline AND r.key = w.key
), fresh AS (
    SELECT w.*, row_number() OVER (PARTITION BY w.pipeline, w.overlap_key ORDER BY w.n) AS place,
           row_number() OVER (PARTITION BY w.pipeline, w.overlap_key ORDER BY w.n DESC) AS place_from_end
    FROM wishes AS w LEFT JOIN known AS k ON k.n = w.n
    WHERE w.mention = 1 AND k.n IS NULL
), open AS (
    SELECT r.run_id, r.pipeline, r.overlap_key,
           row_number() OVER (PARTITION BY r.pipeline, r.overlap_key ORDER BY r.created_at DESC, r.run_id DESC) AS age
    FROM {s}.runs AS r
    WHERE r.state IN ('queued', 'launching', 'running', 'cancelling') AND r.overlap <> 'allow'
      AND (r.pipeline, r.overlap_key) IN (
          SELECT pipeline, overlap_key FROM fresh WHERE overlap IN ('skip', 'queue_one', 'replace'))
), busy AS (
    SELECT pipeline, overlap_key, max(age) AS runs FROM open GROUP BY pipeline, overlap_key
), decided AS (
    SELECT f.*, CASE f.overlap
                WHEN 'skip' THEN coalesce(b.runs, 0) + f.place <= f.concurrency
                WHEN 'queue_one' THEN coalesce(b.runs, 0) + f.place <= f.concurrency + 1
                ELSE true END AS wanted,
           f.overlap = 'replace' AND f.place_from_end > f.concurrency AS replaced
    FROM fresh AS f LEFT JOIN busy AS b ON b.pipeline = f.pipeline AND b.overlap_key = f.overlap_key
), made AS (
    INSERT INTO {s}.runs (run_id, pipeline, version, state, parameters, key, line, lease_ttl_s, parent_run_id, part,
                          parts, replay_of, scheduler_name, trigger_name, scheduled_at, not_before, traceparent,
                          tracestate, overlap, overlap_key, concurrency, max_attempts, backoff_initial_s,
                          backoff_factor, backoff_max_s, timeout_s, grace_s, ended_at, cancel_asked_at, cancelled_by,
                          exit_code)
    SELECT run_id, pipeline, version, CASE WHEN replaced THEN 'cancelled' ELSE 'queued' END, parameters, key, line,
           lease_ttl_s, parent_run_id, part, parts, replay_of, scheduler_name, trigger_name, scheduled_at, not_before,
           traceparent, tracestate, overlap, overlap_key, concurrency, max_attempts, backoff_initial_s,
           backoff_factor, backoff_max_s, timeout_s, grace_s, CASE WHEN replaced THEN clock_timestamp() END,
           CASE WHEN replaced THEN clock_timestamp() END, CASE WHEN replaced THEN 'overlap' END,
           CASE WHEN replaced THEN 3 END
    FROM decided WHERE wanted ORDER BY n
    ON CONFLICT DO NOTHING
    RETURNING run_id, pipeline, key
), delivered AS (
    INSERT INTO {s}.deliveries (trigger_name, key, body_hash, run_id)
    SELECT d.trigger_name, d.key, d.body_hash, d.run_id FROM decided AS d JOIN made AS m ON m.run_id = d.run_id
    WHERE d.body_hash IS NOT NULL
), ousted AS (
    UPDATE {s}.runs AS r
    SET state = CASE WHEN r.state IN ('queued', 'launching') THEN 'cancelled' ELSE 'cancelling' END,
        ended_at = CASE WHEN r.state IN ('queued', 'launching') THEN clock_timestamp() END,
        exit_code = CASE WHEN r.state IN ('queued', 'launching') THEN 3 END,
        cancel_asked_at = coalesce(r.cancel_asked_at, clock_timestamp()),
        cancelled_by = coalesce(r.cancelled_by, 'overlap')
    FROM open AS o
    JOIN (SELECT d.pipeline, d.overlap_key, max(d.concurrency) AS concurrency, count(*) AS newcomers
          FROM decided AS d JOIN made AS m ON m.run_id = d.run_id
          WHERE d.overlap = 'replace' GROUP BY d.pipeline, d.overlap_key) AS n
        ON n.pipeline = o.pipeline AND n.overlap_key = o.overlap_key
    WHERE r.run_id = o.run_id AND o.age > n.concurrency - n.newcomers
      AND r.state IN ('queued', 'launching', 'running', 'cancelling')
    RETURNING r.run_id, r.attempt, r.state
), unlaunched AS (
    UPDATE {s}.attempts AS a SET state = 'cancelled', ended_at = clock_timestamp(), reason = 'replaced by a later run'
    FROM ousted AS o WHERE a.run_id = o.run_id AND o.state = 'cancelled' AND a.state = 'launching'
), first_of_key AS (
    SELECT w.n, d.run_id, d.body_hash, NOT d.wanted AS refused
    FROM wishes AS w JOIN decided AS d ON d.pipeline = w.pipeline AND d.key = w.key
    LEFT JOIN made AS m ON m.run_id = d.run_id
    WHERE w.mention > 1 AND (m.run_id IS NOT NULL OR NOT d.wanted)
)
SELECT w.n, coalesce(m.run_id, k.run_id, CASE WHEN NOT f.refused THEN f.run_id END)::text AS run_id,
       m.run_id IS NOT NULL OR (k.run_id = w.run_id) IS TRUE AS created,
       w.body_hash IS NULL OR m.run_id IS NOT NULL
           OR (w.body_hash = coalesce(before.body_hash, f.body_hash)) IS TRUE AS same_body,
       (NOT d.wanted OR f.refused) IS TRUE AS refused,
       (SELECT count(pg_notify('cableway_cancel', {schema} || '.' || run_id))
        FROM ousted WHERE state = 'cancelling') AS told
FROM wishes AS w
LEFT JOIN decided AS d ON d.n = w.n
LEFT JOIN made AS m ON m.run_id = w.run_id
LEFT JOIN known AS k ON k.n = w.n
LEFT JOIN {s}.deliveries AS before ON before.run_id = k.run_id
LEFT JOIN first_of_key AS f ON f.n = w.n
ORDER BY w.n

-- name: runs_of_keys
-- The runs that some keys have made.
SELECT w.n, r.run_id::text AS run_id, w.body_hash IS NULL OR (w.body_hash = d.body_hash) IS TRUE AS same_body
FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (n integer, pipeline text, key text, body_hash text)
JOIN {s}.runs AS r ON r.pipeline = w.pipeline AND r.key = w.key
LEFT JOIN {s}.deliveries AS d ON d.run_id = r.run_id
