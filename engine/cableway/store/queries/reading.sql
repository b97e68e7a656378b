-- What people and the API read of runs.

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

-- name: profile
-- Of the last attempt that recorded one, with the definition that it worked by.
SELECT a.attempt, a.profile, v.document, extract(epoch FROM a.ended_at - a.started_at)::float8 AS wall_s
FROM {s}.runs AS r
JOIN {s}.pipeline_versions AS v ON v.pipeline = r.pipeline AND v.version = r.version
JOIN {s}.attempts AS a ON a.run_id = r.run_id AND a.profile IS NOT NULL
WHERE r.run_id = %(run_id)s ORDER BY a.attempt DESC LIMIT 1

-- name: stages
-- Of the last attempt that recorded any.
SELECT stage, bloc, lane, items, rows, failed, skipped, retries, work_s, wait_s, blocked_s, workers
FROM {s}.run_stages
WHERE run_id = %(run_id)s AND attempt = (SELECT max(attempt) FROM {s}.run_stages WHERE run_id = %(run_id)s)
ORDER BY position

-- name: dead_letters
SELECT letter_id, run_id::text, attempt, item_id, stage, bloc, state, error_type, message, stack, attempts, payload,
       payload_bytes, payload_at, shape, replay_run_id::text AS replay_run_id, trace_id, span_id, created_at
FROM {s}.dead_letters WHERE run_id = %(run_id)s ORDER BY letter_id LIMIT %(limit)s

-- name: spans
SELECT trace_id, span_id, parent_span_id, name, kind, start_ns, end_ns, status, attributes, events
FROM {s}.spans WHERE run_id = %(run_id)s ORDER BY start_ns, span_id
