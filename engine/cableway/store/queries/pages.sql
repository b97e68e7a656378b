-- What the API lists, page by page: each statement goes on after the last row that the caller has seen.

-- name: page_of_blocs
SELECT name, bloc_type, config, description, revision, created_at, updated_at
FROM {s}.blocs
WHERE (%(bloc_type)s::text IS NULL OR bloc_type = %(bloc_type)s) AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: page_of_pipelines
SELECT p.name, p.active_version AS version, v.document ->> 'description' AS description, v.content_hash,
       p.archived_at, p.created_at, p.updated_at
FROM {s}.pipelines AS p
JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name AND v.version = p.active_version
WHERE (%(archived)s::boolean IS NULL OR (p.archived_at IS NOT NULL) = %(archived)s)
  AND (%(pipelines)s::text[] IS NULL OR p.name = ANY (%(pipelines)s)) AND (%(after)s::text IS NULL OR p.name > %(after)s)
ORDER BY p.name LIMIT %(limit)s

-- name: page_of_versions
SELECT v.pipeline, v.version, v.version = p.active_version AS active, v.content_hash, v.author, v.note,
       v.previous_version, v.created_at
FROM {s}.pipelines AS p JOIN {s}.pipeline_versions AS v ON v.pipeline = p.name
WHERE p.name = %(pipeline)s AND (%(after)s::integer IS NULL OR v.version < %(after)s)
ORDER BY v.version DESC LIMIT %(limit)s

-- name: page_of_triggers
SELECT name, pipeline, kind, expression, config, enabled, from_document, revision, created_at, updated_at
FROM {s}.triggers
WHERE (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(pipelines)s::text[] IS NULL OR pipeline = ANY (%(pipelines)s)) AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: page_of_schedulers
SELECT name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup, catchup_window_s, max_catchup_runs,
       overlap, jitter_s, starts_at, ends_at, paused, pause_note, pause_after_failures, from_document, revision,
       created_at, updated_at
FROM {s}.schedulers
WHERE (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s) AND (%(paused)s::boolean IS NULL OR paused = %(paused)s)
  AND (%(pipelines)s::text[] IS NULL OR pipeline = ANY (%(pipelines)s)) AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: page_of_runs
-- The newest first.
SELECT run_id::text, pipeline, version, state, parameters, key, line::text, parent_run_id::text, replay_of::text,
       scheduler_name, trigger_name, scheduled_at, trace_id, attempt, exit_code, counts, rows_in, rows_out,
       spans_dropped, outputs, error, created_at, started_at, ended_at
FROM {s}.runs
WHERE (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s) AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(scheduler)s::text IS NULL OR scheduler_name = %(scheduler)s)
  AND (%(trigger)s::text IS NULL OR trigger_name = %(trigger)s)
  AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
  AND (%(pipelines)s::text[] IS NULL OR pipeline = ANY (%(pipelines)s))
  AND (%(after_at)s::timestamptz IS NULL OR (created_at, run_id) < (%(after_at)s, %(after_id)s::uuid))
ORDER BY created_at DESC, run_id DESC LIMIT %(limit)s

-- name: page_of_dead_letters
-- The newest first, with the pipeline whose they are.
SELECT d.letter_id, d.run_id::text, r.pipeline, d.attempt, d.item_id, d.stage, d.bloc, d.state, d.error_type,
       d.message, d.stack, d.attempts, d.payload, d.payload_bytes, d.payload_at, d.shape,
       d.replay_run_id::text AS replay_run_id, d.trace_id, d.span_id, d.created_at
FROM {s}.dead_letters AS d JOIN {s}.runs AS r ON r.run_id = d.run_id
WHERE (%(letter_id)s::bigint IS NULL OR d.letter_id = %(letter_id)s)
  AND (%(run_id)s::uuid IS NULL OR d.run_id = %(run_id)s)
  AND (%(pipeline)s::text IS NULL OR r.pipeline = %(pipeline)s) AND (%(state)s::text IS NULL OR d.state = %(state)s)
  AND (%(stage)s::text IS NULL OR d.stage = %(stage)s) AND (%(bloc)s::text IS NULL OR d.bloc = %(bloc)s)
  AND (%(error_type)s::text IS NULL OR d.error_type = %(error_type)s)
  AND (%(pipelines)s::text[] IS NULL OR r.pipeline = ANY (%(pipelines)s))
  AND (%(after)s::bigint IS NULL OR d.letter_id < %(after)s)
ORDER BY d.letter_id DESC LIMIT %(limit)s

-- name: page_of_deliveries
-- Records of webhooks, the newest first, with the pipeline of the trigger as it is now.
SELECT d.delivery_id::text, d.trigger_name, t.pipeline, d.received_at, d.verdict, d.status, d.step, d.error, d.key,
       d.run_id::text, d.headers, d.body_bytes, d.body IS NOT NULL AS body_kept
FROM {s}.delivery_records AS d LEFT JOIN {s}.triggers AS t ON t.name = d.trigger_name
WHERE (%(delivery_id)s::uuid IS NULL OR d.delivery_id = %(delivery_id)s)
  AND (%(trigger)s::text IS NULL OR d.trigger_name = %(trigger)s)
  AND (%(verdict)s::text IS NULL OR d.verdict = %(verdict)s)
  AND (%(pipelines)s::text[] IS NULL OR t.pipeline = ANY (%(pipelines)s))
  AND (%(after_at)s::timestamptz IS NULL OR (d.received_at, d.delivery_id) < (%(after_at)s, %(after_id)s::uuid))
ORDER BY d.received_at DESC, d.delivery_id DESC LIMIT %(limit)s
