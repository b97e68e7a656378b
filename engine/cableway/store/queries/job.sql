-- What a job sends while it works on a run: claim, beat, checkpoint, record.

-- name: lock_place
-- Who gives a place to a run that has none counts those who have one, and nobody else does meanwhile.
SELECT FROM {s}.pipelines WHERE name = (SELECT pipeline FROM {s}.runs WHERE run_id = %(run_id)s AND NOT has_place)
FOR NO KEY UPDATE

-- name: take_place
-- A place for a run that can be claimed now and has none, where others of its pipeline leave one. What ended and may go
-- on waits again, as if it had not.
UPDATE {s}.runs AS r
SET has_place = true, state = CASE WHEN r.ended_at IS NULL THEN r.state ELSE 'queued' END, ended_at = NULL
WHERE r.run_id = %(run_id)s AND (NOT r.has_place OR r.ended_at IS NOT NULL)
  AND r.state IN ('queued', 'launching', 'interrupted', 'crashed')
  AND (SELECT max(number) FROM {s}.migrations) = %(schema_number)s
  AND (r.overlap = 'allow' OR (
           SELECT count(*) FROM {s}.runs AS o
           WHERE o.pipeline = r.pipeline AND o.overlap_key = r.overlap_key AND o.has_place
             AND o.ended_at IS NULL AND o.overlap <> 'allow') < r.concurrency)
  AND (r.part IS NOT NULL OR NOT EXISTS (
       SELECT FROM {s}.runs AS o
       WHERE o.line = r.line AND o.ended_at IS NULL AND o.run_id <> r.run_id AND o.part IS NULL
         AND o.state IN ('running', 'cancelling') AND o.lease_expires_at > clock_timestamp()))

-- name: keep_late
-- An attempt whose lease has run out is kept as crashed, since a claim may take its place now.
WITH late AS (
    SELECT * FROM {s}.runs WHERE run_id = %(run_id)s AND has_place AND lease_expires_at <= clock_timestamp() FOR UPDATE
)
INSERT INTO {s}.kept_attempts AS a (run_id, attempt, state, lease_token, external_id, reason, trace_id, created_at,
                                    started_at, ended_at)
SELECT run_id, attempt, 'crashed', lease_token, external_id, 'its lease ran out', trace_id, begun_at, begun_at,
       clock_timestamp()
FROM late
ON CONFLICT (run_id, attempt) DO UPDATE
SET state = excluded.state, lease_token = excluded.lease_token, reason = excluded.reason, trace_id = excluded.trace_id,
    external_id = coalesce(a.external_id, excluded.external_id), started_at = excluded.started_at,
    ended_at = excluded.ended_at

-- name: claim
-- The lease of a run that has a place, if it is free, with all that the job needs; one that has run out is taken as well
-- where it was kept before. Nothing is taken from a schema of another version, nor where another run holds the line.
-- Who comes second waits for the row, and judges it as the first one left it. Asked again because the answer was lost,
-- it finds what it took.
UPDATE {s}.runs AS r
SET state = CASE WHEN r.state = 'cancelling' THEN 'cancelling' ELSE 'running' END,
    attempt = CASE WHEN r.claim_id = %(claim_id)s THEN r.attempt ELSE r.attempt + 1 END,
    tries = CASE WHEN r.claim_id = %(claim_id)s THEN r.tries ELSE r.tries + 1 END,
    lease_token = CASE WHEN r.claim_id = %(claim_id)s THEN r.lease_token ELSE nextval({tokens}) END,
    lease_expires_at = clock_timestamp() + r.lease_ttl_s * interval '1 second',
    claim_id = %(claim_id)s, external_id = %(external_id)s, trace_id = coalesce(%(trace_id)s, r.trace_id),
    begun_at = clock_timestamp(), started_at = coalesce(r.started_at, clock_timestamp()),
    exit_code = NULL, error = NULL, not_before = NULL, launching_since = NULL, launch_failures = 0, failing_since = NULL
FROM {s}.pipeline_versions AS v
WHERE r.run_id = %(run_id)s AND v.pipeline = r.pipeline AND v.version = r.version AND r.has_place
  AND CASE WHEN r.lease_expires_at IS NULL THEN r.state IN ('queued', 'launching', 'cancelling')
           ELSE r.claim_id = %(claim_id)s OR %(late)s AND r.lease_expires_at <= clock_timestamp() END
  AND (SELECT max(number) FROM {s}.migrations) = %(schema_number)s
  AND (r.part IS NOT NULL OR NOT EXISTS (
       SELECT FROM {s}.runs AS o
       WHERE o.line = r.line AND o.ended_at IS NULL AND o.run_id <> r.run_id AND o.part IS NULL
         AND o.state IN ('running', 'cancelling') AND o.lease_expires_at > clock_timestamp()))
RETURNING r.attempt, r.lease_token, r.lease_ttl_s, r.state, r.pipeline, r.version, r.parameters, r.line::text AS line,
          r.key, r.part, r.parts, r.scheduler_name, r.trigger_name, r.traceparent, r.tracestate, r.trace_id,
          r.replay_of::text AS replay_of, r.replay_stage, r.replay_whole, r.timeout_s AS time_left_s,
          to_char(r.scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS scheduled_at,
          v.document, v.document_format, v.content_hash,
          (SELECT c.position FROM {s}.cursors AS c WHERE c.line = r.line) AS cursor

-- name: claimed_again
-- What is not the same for an attempt that is not the first: the cursor of its line, as its last holder left it, and the
-- time that is left.
SELECT c.position AS cursor,
       extract(epoch FROM r.started_at + r.timeout_s * interval '1 second' - clock_timestamp())::float8 AS time_left_s
FROM {s}.runs AS r LEFT JOIN {s}.cursors AS c ON c.line = r.line WHERE r.run_id = %(run_id)s

-- name: unclaimed
-- Why a run's lease cannot be had.
SELECT m.number AS schema_number, r.run_id IS NOT NULL AS known, r.state,
       CASE WHEN r.part IS NULL THEN r.parts END AS parts,
       greatest(extract(epoch FROM r.lease_expires_at - clock_timestamp()), 0)::float8 AS expires_in_s
FROM (SELECT max(number) AS number FROM {s}.migrations) AS m
LEFT JOIN {s}.runs AS r ON r.run_id = %(run_id)s

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
-- Store units that failed for good; what is there already stays as it is, unless it was worked on again: then it is open
-- again, with the new error.
WITH held AS (
    SELECT run_id, attempt FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
), given AS (
    SELECT * FROM jsonb_to_recordset(%(letters)s::jsonb) AS l (
        item_id text, stage text, bloc text, error_type text, message text, stack text, attempts integer,
        payload jsonb, payload_bytes bigint, payload_at text, shape text, frames jsonb, trace_id text, span_id text)
), again AS (
    UPDATE {s}.dead_letters AS d
    SET state = 'open', error_type = l.error_type, message = l.message, stack = l.stack, trace_id = l.trace_id,
        span_id = l.span_id,
        attempts = CASE WHEN d.state = 'replaying' THEN d.attempts + l.attempts ELSE d.attempts END
    FROM held, given AS l
    WHERE d.replay_run_id = held.run_id AND d.state IN ('replaying', 'open')
      AND d.stage = l.stage AND d.bloc = l.bloc AND d.item_id = l.item_id
    RETURNING d.stage, d.bloc, d.item_id
), stored AS (
    INSERT INTO {s}.dead_letters (run_id, attempt, item_id, stage, bloc, error_type, message, stack, attempts,
                                  payload, payload_bytes, payload_at, shape, frames, trace_id, span_id)
    SELECT held.run_id, held.attempt, l.item_id, l.stage, l.bloc, l.error_type, l.message, l.stack, l.attempts,
           l.payload, l.payload_bytes, l.payload_at, coalesce(l.shape, 'data'), l.frames, l.trace_id, l.span_id
    FROM held, given AS l
    WHERE NOT EXISTS (SELECT FROM again AS a WHERE a.stage = l.stage AND a.bloc = l.bloc AND a.item_id = l.item_id)
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

-- name: hand_back
-- A run that was launched and could not begin waits for its turn again; its next launch has another name.
WITH freed AS (
    UPDATE {s}.runs SET state = 'queued', has_place = started_at IS NOT NULL OR overlap = 'allow', attempt = attempt + 1,
                          launching_since = NULL
    WHERE run_id = %(run_id)s AND state = 'launching'
    RETURNING run_id, attempt
)
UPDATE {s}.kept_attempts AS a SET state = 'failed', reason = 'others had all places', ended_at = clock_timestamp()
FROM freed WHERE a.run_id = freed.run_id AND a.attempt = freed.attempt AND a.state = 'launching'

-- name: finish
-- The outcome of an attempt: run, attempt and stages at once, and the lease is given up. Where the outcome may pass and
-- the run has attempts and time left, it waits for the next one and keeps its place. Asked again because the answer
-- was lost, it finds what it wrote.
WITH asked AS (
    SELECT * FROM {s}.runs WHERE run_id = %(run_id)s FOR UPDATE
), held AS (
    SELECT a.*,
           CASE WHEN a.state = 'cancelling' AND %(state)s IN ('interrupted', 'crashed') THEN 'cancelled'
                WHEN a.state = 'running' AND %(may_pass)s AND a.tries < a.max_attempts
                     AND (a.timeout_s IS NULL
                          OR clock_timestamp() < a.started_at + a.timeout_s * interval '1 second') THEN 'queued'
                ELSE %(state)s END AS next_state,
           least(a.backoff_max_s, a.backoff_initial_s * a.backoff_factor ^ least(a.tries - 1, 64))
               * (0.5 + random() / 2) * interval '1 second' AS pause
    FROM asked AS a WHERE a.lease_token = %(token)s AND a.state IN ('running', 'cancelling')
), ended AS (
    UPDATE {s}.runs AS r
    SET state = held.next_state, exit_code = %(exit_code)s, counts = %(counts)s::jsonb, rows_in = %(rows_in)s,
        rows_out = %(rows_out)s, spans_dropped = %(spans_dropped)s, outputs = %(outputs)s::jsonb,
        error = %(problem)s::jsonb, trace_id = coalesce(%(trace_id)s, r.trace_id),
        lease_expires_at = NULL, claim_id = NULL, has_place = held.next_state = 'queued' OR r.overlap = 'allow',
        not_before = CASE WHEN held.next_state = 'queued' THEN clock_timestamp() + held.pause END,
        ended_at = CASE WHEN held.next_state <> 'queued' THEN clock_timestamp() END
    FROM held WHERE r.run_id = held.run_id
), attempted AS (
    INSERT INTO {s}.kept_attempts AS a (run_id, attempt, state, lease_token, external_id, exit_code, reason, trace_id,
                                        created_at, started_at, ended_at, profile)
    SELECT run_id, attempt, %(state)s, lease_token, external_id, %(exit_code)s, %(problem)s::jsonb ->> 'detail',
           coalesce(%(trace_id)s, trace_id), begun_at, begun_at, clock_timestamp(), %(profile)s::jsonb
    FROM held
    ON CONFLICT (run_id, attempt) DO UPDATE
    SET state = excluded.state, lease_token = excluded.lease_token, exit_code = excluded.exit_code,
        reason = excluded.reason, trace_id = excluded.trace_id, started_at = excluded.started_at,
        external_id = coalesce(a.external_id, excluded.external_id), ended_at = excluded.ended_at,
        profile = excluded.profile
), staged AS (
    INSERT INTO {s}.run_stages (run_id, attempt, position, stage, bloc, lane, items, rows, failed, skipped, retries,
                                work_s, wait_s, blocked_s, workers)
    SELECT held.run_id, held.attempt, s.position, s.stage, s.bloc, s.lane, s.items, s.rows, s.failed, s.skipped,
           s.retries, s.work_s, s.wait_s, s.blocked_s, s.workers
    FROM held, jsonb_to_recordset(%(stages)s::jsonb) AS s (
        position integer, stage text, bloc text, lane text, items bigint, rows bigint, failed bigint, skipped bigint,
        retries bigint, work_s float8, wait_s float8, blocked_s float8, workers integer)
), given_back AS (
    DELETE FROM {s}.limit_slots AS l USING held WHERE l.run_id = held.run_id
), told AS (
    SELECT pg_notify('cableway_launch', {schema}) FROM held
    WHERE EXISTS (SELECT FROM {s}.runs AS r
                  WHERE r.pipeline = held.pipeline AND r.overlap_key = held.overlap_key AND r.ended_at IS NULL
                    AND r.state = 'queued' AND NOT r.has_place AND r.run_id <> held.run_id)
)
SELECT true AS held, part IS NOT NULL AS is_part, (SELECT count(*) FROM told) AS told FROM held
UNION ALL
SELECT true, a.part IS NOT NULL, 0 FROM asked AS a JOIN {s}.kept_attempts AS t ON t.run_id = a.run_id AND t.attempt = a.attempt
WHERE a.lease_token = %(token)s AND t.lease_token = %(token)s AND t.state = %(state)s
