-- Pipelines, versions, blocs, triggers, schedulers and bloc types as they are stored and changed.

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
    pause_after_failures = %(pause_after_failures)s, revision = revision + 1, updated_at = now(),
    next_at = clock_timestamp()
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
