-- What records a run: the version that it is pinned to, and the run itself.

-- name: active_version
-- What a new run of a pipeline is pinned to.
SELECT (SELECT max(number) FROM {s}.migrations) AS schema_number, p.archived_at IS NOT NULL AS archived,
       v.version, v.document -> 'parameters' AS parameters,
       (v.document -> 'settings' ->> 'lease_ttl_s')::float8 AS lease_ttl_s
FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = p.active_version
WHERE p.name = %(pipeline)s

-- name: pipeline_names
-- Some pipelines that there are, for whoever asked for another.
SELECT name FROM {s}.pipelines WHERE archived_at IS NULL ORDER BY name LIMIT 20

-- name: insert_run
-- A queued run and, for a webhook, its delivery; no row where the pipeline has a run of this key.
WITH made AS (
    INSERT INTO {s}.runs (run_id, pipeline, version, parameters, key, line, lease_ttl_s, parent_run_id, part, parts,
                          replay_of, scheduler_name, trigger_name, scheduled_at, traceparent, tracestate)
    VALUES (%(run_id)s, %(pipeline)s, %(version)s, %(parameters)s::jsonb, %(key)s, %(line)s, %(lease_ttl_s)s,
            %(parent_run_id)s, %(part)s, %(parts)s, %(replay_of)s, %(scheduler_name)s, %(trigger_name)s,
            %(scheduled_at)s, %(traceparent)s, %(tracestate)s)
    ON CONFLICT DO NOTHING
    RETURNING run_id
), delivered AS (
    INSERT INTO {s}.deliveries (trigger_name, key, body_hash, run_id)
    SELECT %(trigger_name)s::text, %(key)s::text, %(body_hash)s::text, run_id FROM made
    WHERE %(body_hash)s::text IS NOT NULL
)
SELECT run_id::text AS run_id FROM made

-- name: run_before
-- The run that was in the way of another: of the same key, or the same run.
SELECT r.run_id::text AS run_id, d.body_hash
FROM {s}.runs AS r LEFT JOIN {s}.deliveries AS d ON d.run_id = r.run_id
WHERE r.run_id = %(run_id)s OR (r.pipeline = %(pipeline)s AND r.key = %(key)s)
