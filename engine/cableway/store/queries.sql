-- Every statement that Cableway sends to its own tables, under a name.
-- {s} is the schema, {schema} its name as a literal, {tokens} its sequence of lease tokens as one. A line that begins with
-- "-- name:" begins a query; the comment lines that follow it say what it is for.

-- name: schema_numbers
-- The migrations that a schema has, with their hashes.
SELECT number, hash FROM {s}.migrations ORDER BY number

-- name: has_migrations
-- Whether the schema is there, and whether it holds tables of ours.
SELECT to_regnamespace(%(schema)s) IS NOT NULL AS has_schema, to_regclass(%(table)s) IS NOT NULL AS has_table

-- name: lock_schema
-- Two instances that start on an empty database: one of them waits here.
SELECT pg_advisory_xact_lock(hashtextextended('cableway.schema:' || {schema}, 0))

-- name: limit_locks
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: create_schema
-- Only where it is missing: the right to create schemas is not asked of those who have one.
CREATE SCHEMA IF NOT EXISTS {s}

-- name: use_schema
-- Migrations write names without a schema. For this transaction alone, so a pooled connection keeps nothing of it.
SET LOCAL search_path TO {s}

-- name: create_migrations
CREATE TABLE IF NOT EXISTS {s}.migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    hash       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: add_migration
INSERT INTO {s}.migrations (number, name, hash) VALUES (%(number)s, %(name)s, %(hash)s)

-- name: claim
-- A run's lease if it is free or has run out, with all that the job needs, in one round trip; nothing is taken
-- from a schema of another version. The row is locked first, so that who comes second sees what the first one did.
WITH asked AS (
    SELECT * FROM {s}.runs WHERE run_id = %(run_id)s FOR UPDATE
), free AS (
    SELECT run_id, attempt FROM asked
    WHERE (SELECT max(number) FROM {s}.migrations) = %(schema_number)s
      AND (state IN ('queued', 'launching', 'interrupted', 'crashed')
           OR state IN ('running', 'cancelling')
              AND (lease_expires_at IS NULL OR lease_expires_at <= clock_timestamp()))
), taken AS (
    UPDATE {s}.runs AS r
    SET state = CASE WHEN r.state = 'cancelling' THEN 'cancelling' ELSE 'running' END,
        attempt = r.attempt + 1,
        lease_token = nextval({tokens}),
        lease_expires_at = clock_timestamp() + r.lease_ttl_s * interval '1 second',
        claim_id = %(claim_id)s,
        trace_id = coalesce(%(trace_id)s, r.trace_id),
        started_at = coalesce(r.started_at, clock_timestamp()),
        ended_at = NULL
    FROM free WHERE r.run_id = free.run_id
    RETURNING r.*
), overtaken AS (
    UPDATE {s}.attempts AS a
    SET state = 'crashed', reason = 'its lease ran out', ended_at = clock_timestamp()
    FROM free WHERE a.run_id = free.run_id AND a.attempt = free.attempt AND a.state = 'running'
), begun AS (
    INSERT INTO {s}.attempts AS a (run_id, attempt, state, lease_token, external_id, trace_id, started_at)
    SELECT run_id, attempt, 'running', lease_token, %(external_id)s, %(trace_id)s, clock_timestamp() FROM taken
    ON CONFLICT (run_id, attempt) DO UPDATE
    SET state = excluded.state, lease_token = excluded.lease_token, trace_id = excluded.trace_id,
        started_at = excluded.started_at, external_id = coalesce(excluded.external_id, a.external_id)
), answer AS (
    SELECT a.*, t.run_id IS NOT NULL
             OR (a.claim_id = %(claim_id)s AND a.state IN ('running', 'cancelling')) AS claimed,
           coalesce(t.state, a.state) AS state_now,
           coalesce(t.attempt, a.attempt) AS attempt_now,
           coalesce(t.lease_token, a.lease_token) AS token_now,
           coalesce(t.trace_id, a.trace_id) AS trace_id_now
    FROM asked AS a LEFT JOIN taken AS t ON true
)
SELECT m.number AS schema_number, a.run_id IS NOT NULL AS known, a.claimed, a.state_now AS state,
       greatest(extract(epoch FROM a.lease_expires_at - clock_timestamp()), 0)::float8 AS expires_in_s,
       a.attempt_now AS attempt, a.token_now AS lease_token, a.lease_ttl_s, a.pipeline, a.version, a.parameters,
       a.line::text AS line, a.key, a.scheduler_name, a.trigger_name, a.traceparent, a.tracestate,
       a.trace_id_now AS trace_id,
       to_char(a.scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS scheduled_at,
       v.document, v.document_format, v.content_hash, c.position AS cursor
FROM (SELECT max(number) AS number FROM {s}.migrations) AS m
LEFT JOIN answer AS a ON true
LEFT JOIN {s}.pipeline_versions AS v ON a.claimed AND v.pipeline = a.pipeline AND v.version = a.version
LEFT JOIN {s}.cursors AS c ON a.claimed AND c.line = a.line

-- name: beat
-- Renew a lease by the database's clock; no row when it is not ours any more.
UPDATE {s}.runs SET lease_expires_at = clock_timestamp() + lease_ttl_s * interval '1 second'
WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling')
RETURNING state = 'cancelling' AS cancel_requested

-- name: checkpoint
-- Keep how far a line's source has been worked off. A claim waits for this row lock, so the cursor it reads is whole.
WITH held AS (
    SELECT run_id, pipeline, line, lease_token FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
)
INSERT INTO {s}.cursors AS c (line, pipeline, position, run_id, lease_token)
SELECT line, pipeline, %(position)s::jsonb, run_id, lease_token FROM held
ON CONFLICT (line) DO UPDATE
SET position = excluded.position, run_id = excluded.run_id, lease_token = excluded.lease_token,
    updated_at = clock_timestamp()
WHERE c.lease_token <= excluded.lease_token
RETURNING true AS held

-- name: add_dead_letters
-- Store units that failed for good; what is there already stays as it is.
WITH held AS (
    SELECT run_id, attempt FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
), stored AS (
    INSERT INTO {s}.dead_letters (run_id, attempt, item_id, stage, bloc, error_type, message, stack, attempts,
                                  payload, payload_bytes, trace_id, span_id)
    SELECT held.run_id, held.attempt, l.item_id, l.stage, l.bloc, l.error_type, l.message, l.stack, l.attempts,
           l.payload, l.payload_bytes, l.trace_id, l.span_id
    FROM held, jsonb_to_recordset(%(letters)s::jsonb) AS l (
        item_id text, stage text, bloc text, error_type text, message text, stack text, attempts integer,
        payload jsonb, payload_bytes bigint, trace_id text, span_id text)
    ON CONFLICT (run_id, stage, bloc, item_id) DO NOTHING
)
SELECT true AS held FROM held

-- name: add_spans
-- Keep spans up to the bound of the run, first come first kept.
WITH held AS (
    SELECT run_id, attempt FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
), stored AS (
    INSERT INTO {s}.spans (run_id, attempt, trace_id, span_id, parent_span_id, name, kind, start_ns, end_ns,
                           status, attributes, events)
    SELECT held.run_id, held.attempt, s.trace_id, s.span_id, s.parent_span_id, s.name, s.kind, s.start_ns, s.end_ns,
           s.status, s.attributes, s.events
    FROM held, jsonb_to_recordset(%(spans)s::jsonb) AS s (
        trace_id text, span_id text, parent_span_id text, name text, kind text, start_ns bigint, end_ns bigint,
        status text, attributes jsonb, events jsonb)
    LIMIT greatest(0, %(bound)s::bigint - (SELECT count(*) FROM {s}.spans WHERE run_id = %(run_id)s))
    ON CONFLICT (run_id, span_id) DO NOTHING
)
SELECT true AS held FROM held

-- name: finish
-- The outcome of an attempt: run, attempt and stages at once, and the lease is given up. Asked again because the
-- answer was lost, it finds what it wrote.
WITH asked AS (
    SELECT run_id, attempt, state, lease_token FROM {s}.runs WHERE run_id = %(run_id)s FOR UPDATE
), held AS (
    SELECT run_id, attempt FROM asked WHERE lease_token = %(token)s AND state IN ('running', 'cancelling')
), ended AS (
    UPDATE {s}.runs AS r
    SET state = %(state)s, exit_code = %(exit_code)s, counts = %(counts)s::jsonb, rows_in = %(rows_in)s,
        rows_out = %(rows_out)s, spans_dropped = %(spans_dropped)s, outputs = %(outputs)s::jsonb,
        error = %(problem)s::jsonb, trace_id = coalesce(%(trace_id)s, r.trace_id),
        lease_expires_at = NULL, ended_at = clock_timestamp()
    FROM held WHERE r.run_id = held.run_id
), attempted AS (
    UPDATE {s}.attempts AS a
    SET state = %(state)s, exit_code = %(exit_code)s, reason = %(problem)s::jsonb ->> 'detail',
        trace_id = coalesce(%(trace_id)s, a.trace_id), ended_at = clock_timestamp()
    FROM held WHERE a.run_id = held.run_id AND a.attempt = held.attempt
), staged AS (
    INSERT INTO {s}.run_stages (run_id, attempt, position, stage, bloc, lane, items, rows, failed, skipped, retries,
                                work_s, wait_s, blocked_s, workers)
    SELECT held.run_id, held.attempt, s.position, s.stage, s.bloc, s.lane, s.items, s.rows, s.failed, s.skipped,
           s.retries, s.work_s, s.wait_s, s.blocked_s, s.workers
    FROM held, jsonb_to_recordset(%(stages)s::jsonb) AS s (
        position integer, stage text, bloc text, lane text, items bigint, rows bigint, failed bigint, skipped bigint,
        retries bigint, work_s float8, wait_s float8, blocked_s float8, workers integer)
)
SELECT true AS held FROM held
UNION ALL
SELECT true FROM asked WHERE lease_token = %(token)s AND state = %(state)s

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

-- name: runs
SELECT run_id::text, pipeline, version, state, parameters, key, line::text, parent_run_id::text, replay_of::text,
       scheduler_name, trigger_name, scheduled_at, trace_id, attempt, exit_code, counts, rows_in, rows_out,
       spans_dropped, outputs, error, created_at, started_at, ended_at
FROM {s}.runs
WHERE (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s) AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY created_at DESC, run_id DESC LIMIT %(limit)s

-- name: run
SELECT run_id::text, pipeline, version, state, parameters, key, line::text, parent_run_id::text, replay_of::text,
       scheduler_name, trigger_name, scheduled_at, trace_id, attempt, exit_code, counts, rows_in, rows_out,
       spans_dropped, outputs, error, created_at, started_at, ended_at
FROM {s}.runs WHERE run_id = %(run_id)s

-- name: attempts
SELECT attempt, state, external_id, exit_code, reason, trace_id, started_at, ended_at
FROM {s}.attempts WHERE run_id = %(run_id)s ORDER BY attempt

-- name: stages
-- Of the last attempt that recorded any.
SELECT stage, bloc, lane, items, rows, failed, skipped, retries, work_s, wait_s, blocked_s, workers
FROM {s}.run_stages
WHERE run_id = %(run_id)s AND attempt = (SELECT max(attempt) FROM {s}.run_stages WHERE run_id = %(run_id)s)
ORDER BY position

-- name: dead_letters
SELECT letter_id, run_id::text, attempt, item_id, stage, bloc, state, error_type, message, stack, attempts, payload,
       payload_bytes, trace_id, span_id, created_at
FROM {s}.dead_letters WHERE run_id = %(run_id)s ORDER BY letter_id LIMIT %(limit)s

-- name: spans
SELECT trace_id, span_id, parent_span_id, name, kind, start_ns, end_ns, status, attributes, events
FROM {s}.spans WHERE run_id = %(run_id)s ORDER BY start_ns, span_id

-- name: pipelines
SELECT p.name, p.active_version AS version, v.document ->> 'description' AS description, v.content_hash,
       p.archived_at, p.created_at, p.updated_at
FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = p.active_version
ORDER BY p.name

-- name: version
SELECT v.pipeline, v.version, v.document, v.document_format > 0 AS checked, v.content_hash, v.source, v.author,
       v.note, v.previous_version, v.bloc_names, v.created_at, p.archived_at
FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = coalesce(%(version)s, p.active_version)
WHERE p.name = %(pipeline)s

-- name: versions
-- A pipeline's history, newest first, without the documents.
SELECT v.pipeline, v.version, v.version = p.active_version AS active, v.content_hash, v.author, v.note,
       v.previous_version, v.created_at
FROM {s}.pipelines AS p JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name
WHERE p.name = %(pipeline)s ORDER BY v.version DESC

-- name: lock_blocs
-- Who changes a bloc waits for those who resolve blocs, and they for him. Always before lock_pipeline.
SELECT pg_advisory_xact_lock(hashtextextended('cableway.blocs:' || {schema}, 0))

-- name: share_blocs
-- For those who resolve blocs, side by side.
SELECT pg_advisory_xact_lock_shared(hashtextextended('cableway.blocs:' || {schema}, 0))

-- name: lock_pipeline
-- Two who save the same pipeline come one after the other, also where it is not there yet.
SELECT pg_advisory_xact_lock(hashtextextended('cableway.pipeline:' || {schema} || '.' || %(pipeline)s, 0))

-- name: lock_triggers
-- Triggers and schedulers are changed one after the other. Always after lock_pipeline.
SELECT pg_advisory_xact_lock(hashtextextended('cableway.triggers:' || {schema}, 0))

-- name: latest_version
-- What a pipeline stands at: its highest number, and the active version to compare with.
SELECT p.active_version, p.archived_at IS NOT NULL AS archived, v.content_hash, v.document_format, v.source,
       v.bloc_names, v.previous_version,
       (SELECT max(version) FROM {s}.pipeline_versions WHERE pipeline = p.name) AS highest
FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = p.active_version
WHERE p.name = %(pipeline)s

-- name: insert_version
-- A new version, at once the active one.
WITH named AS (
    INSERT INTO {s}.pipelines (name, active_version) VALUES (%(pipeline)s, %(version)s)
    ON CONFLICT (name) DO UPDATE SET active_version = excluded.active_version, updated_at = now(), archived_at = NULL
)
INSERT INTO {s}.pipeline_versions (pipeline, version, document, document_format, content_hash, source, author, note,
                                   previous_version, bloc_names)
VALUES (%(pipeline)s, %(version)s, %(document)s::json, %(document_format)s, %(content_hash)s, %(source)s::json,
        %(author)s, %(note)s, %(previous_version)s, %(bloc_names)s)

-- name: activate_version
-- Whatever was active, and an archived pipeline is one that runs again.
UPDATE {s}.pipelines SET active_version = %(version)s, updated_at = now(), archived_at = NULL
WHERE name = %(pipeline)s

-- name: archive_pipeline
UPDATE {s}.pipelines SET archived_at = now(), updated_at = now() WHERE name = %(pipeline)s AND archived_at IS NULL

-- name: mark_checked
-- The content is the same; what is new is that it was checked.
UPDATE {s}.pipeline_versions SET document_format = %(document_format)s
WHERE pipeline = %(pipeline)s AND version = %(version)s

-- name: take_source
-- The content is the same; what is new is which stored blocs it is taken from.
UPDATE {s}.pipeline_versions SET source = %(source)s::json, bloc_names = %(bloc_names)s
WHERE pipeline = %(pipeline)s AND version = %(version)s

-- name: pipelines_of_bloc
-- The pipelines whose active version takes a stored bloc.
SELECT p.name FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = p.active_version
WHERE p.archived_at IS NULL AND v.bloc_names @> ARRAY[%(bloc)s::text] ORDER BY p.name

-- name: blocs
SELECT name, bloc_type, config, description, revision, created_at, updated_at
FROM {s}.blocs WHERE %(name)s::text IS NULL OR name = %(name)s ORDER BY name

-- name: insert_bloc
INSERT INTO {s}.blocs (name, bloc_type, config, description)
VALUES (%(name)s, %(bloc_type)s, %(config)s::json, %(description)s)
ON CONFLICT (name) DO NOTHING
RETURNING name, bloc_type, config, description, revision, created_at, updated_at

-- name: update_bloc
UPDATE {s}.blocs SET bloc_type = %(bloc_type)s, config = %(config)s::json, description = %(description)s,
                     revision = revision + 1, updated_at = now()
WHERE name = %(name)s
RETURNING name, bloc_type, config, description, revision, created_at, updated_at

-- name: delete_bloc
DELETE FROM {s}.blocs WHERE name = %(name)s

-- name: triggers
SELECT name, pipeline, kind, expression, config, enabled, from_document, revision, created_at, updated_at
FROM {s}.triggers WHERE %(name)s::text IS NULL OR name = %(name)s ORDER BY name

-- name: insert_trigger
INSERT INTO {s}.triggers (name, pipeline, kind, expression, config, enabled, from_document)
VALUES (%(name)s, %(pipeline)s, %(kind)s, %(expression)s, %(config)s::json, %(enabled)s, %(from_document)s)
ON CONFLICT (name) DO NOTHING
RETURNING name, pipeline, kind, expression, config, enabled, from_document, revision, created_at, updated_at

-- name: update_trigger
UPDATE {s}.triggers SET pipeline = %(pipeline)s, kind = %(kind)s, expression = %(expression)s,
                        config = %(config)s::json, enabled = %(enabled)s, revision = revision + 1, updated_at = now()
WHERE name = %(name)s
RETURNING name, pipeline, kind, expression, config, enabled, from_document, revision, created_at, updated_at

-- name: delete_trigger
DELETE FROM {s}.triggers WHERE name = %(name)s

-- name: schedulers
SELECT name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup, catchup_window_s, max_catchup_runs,
       overlap, jitter_s, starts_at, ends_at, paused, pause_note, pause_after_failures, from_document, revision,
       created_at, updated_at
FROM {s}.schedulers
WHERE (%(name)s::text IS NULL OR name = %(name)s) AND (%(trigger)s::text IS NULL OR trigger_name = %(trigger)s)
ORDER BY name

-- name: insert_scheduler
INSERT INTO {s}.schedulers (name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup, catchup_window_s,
                            max_catchup_runs, overlap, jitter_s, starts_at, ends_at, paused, pause_note,
                            pause_after_failures, from_document)
VALUES (%(name)s, %(pipeline)s, %(trigger_name)s, %(parameters)s::json, %(timezone)s, %(dst_gap)s, %(catchup)s,
        %(catchup_window_s)s, %(max_catchup_runs)s, %(overlap)s, %(jitter_s)s, %(starts_at)s, %(ends_at)s, %(paused)s,
        %(pause_note)s, %(pause_after_failures)s, %(from_document)s)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: update_scheduler
UPDATE {s}.schedulers
SET pipeline = %(pipeline)s, trigger_name = %(trigger_name)s, parameters = %(parameters)s::json,
    timezone = %(timezone)s, dst_gap = %(dst_gap)s, catchup = %(catchup)s, catchup_window_s = %(catchup_window_s)s,
    max_catchup_runs = %(max_catchup_runs)s, overlap = %(overlap)s, jitter_s = %(jitter_s)s,
    starts_at = %(starts_at)s, ends_at = %(ends_at)s, paused = %(paused)s, pause_note = %(pause_note)s,
    pause_after_failures = %(pause_after_failures)s, revision = revision + 1, updated_at = now()
WHERE name = %(name)s

-- name: delete_scheduler
DELETE FROM {s}.schedulers WHERE name = %(name)s

-- name: tell_change
-- Wakes those who watch triggers, once this transaction is committed.
SELECT pg_notify('cableway', {schema})

-- name: backend
-- Which process serves us. Where a pooler stands between, it is not the one that the connection was told.
SELECT pg_backend_pid() AS pid

-- name: watch_changes
-- Be told when the answer of trigger_revisions may be another one.
LISTEN cableway

-- name: trigger_revisions
-- Small enough to be asked often: what has changed is what differs from the last answer.
SELECT 'trigger' AS kind, name, revision, created_at FROM {s}.triggers
UNION ALL
SELECT 'scheduler', name, revision, created_at FROM {s}.schedulers

-- name: bloc_types
SELECT name, description, version, content_hash, published_at
FROM {s}.bloc_types WHERE %(name)s::text IS NULL OR name = %(name)s ORDER BY name

-- name: publish_bloc_type
-- No row where just this was published before.
INSERT INTO {s}.bloc_types AS t (name, description, version, content_hash)
VALUES (%(name)s, %(description)s::json, %(version)s, %(content_hash)s)
ON CONFLICT (name) DO UPDATE
SET description = excluded.description, version = excluded.version, content_hash = excluded.content_hash,
    published_at = now()
WHERE (t.content_hash, t.version) IS DISTINCT FROM (excluded.content_hash, excluded.version)
RETURNING name

-- name: withdraw_bloc_type
DELETE FROM {s}.bloc_types WHERE name = %(name)s RETURNING name
