-- What a job sends while it works on a run: claim, beat, checkpoint, record.

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
