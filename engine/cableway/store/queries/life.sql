-- The life of a run outside its container: launches, attempts that are gone and what follows, cancelling.

-- name: cancel_run
-- Whoever works on the run is told; a run that nobody works on has ended with this. So do its parts.
WITH asked AS (
    SELECT *, (lease_expires_at > clock_timestamp()) IS TRUE AS held
    FROM {s}.runs WHERE run_id = %(run_id)s OR parent_run_id = %(run_id)s ORDER BY run_id FOR UPDATE
), changed AS (
    UPDATE {s}.runs AS r
    SET state = CASE WHEN a.held THEN 'cancelling' ELSE 'cancelled' END,
        lease_expires_at = CASE WHEN a.held THEN r.lease_expires_at END,
        claim_id = CASE WHEN a.held THEN r.claim_id END,
        has_place = a.held OR r.overlap = 'allow',
        ended_at = CASE WHEN a.held THEN r.ended_at ELSE clock_timestamp() END,
        exit_code = CASE WHEN a.held THEN r.exit_code ELSE %(exit_code)s END,
        error = CASE WHEN a.held THEN r.error ELSE %(problem)s::jsonb END,
        cancel_asked_at = coalesce(r.cancel_asked_at, clock_timestamp()),
        cancelled_by = coalesce(r.cancelled_by, %(cancelled_by)s)
    FROM asked AS a
    WHERE r.run_id = a.run_id
      AND a.state IN ('queued', 'launching', 'running', 'cancelling', 'interrupted', 'crashed')
    RETURNING r.run_id, r.state
), late AS (
    INSERT INTO {s}.kept_attempts AS a (run_id, attempt, state, lease_token, external_id, reason, trace_id, created_at,
                                        started_at, ended_at)
    SELECT run_id, attempt, 'crashed', lease_token, external_id, 'its lease ran out', trace_id, begun_at, begun_at,
           clock_timestamp()
    FROM asked WHERE NOT held AND lease_expires_at IS NOT NULL
    ON CONFLICT (run_id, attempt) DO UPDATE
    SET state = excluded.state, lease_token = excluded.lease_token, reason = excluded.reason,
        trace_id = excluded.trace_id, external_id = coalesce(a.external_id, excluded.external_id),
        started_at = excluded.started_at, ended_at = excluded.ended_at
), unlaunched AS (
    UPDATE {s}.kept_attempts AS t
    SET state = 'cancelled', ended_at = clock_timestamp(), reason = 'cancelled before it began'
    FROM changed AS c JOIN asked AS a ON a.run_id = c.run_id
    WHERE c.state = 'cancelled' AND a.lease_expires_at IS NULL AND t.run_id = c.run_id AND t.state = 'launching'
), told AS (
    SELECT count(CASE WHEN state = 'cancelling' THEN pg_notify('cableway_cancel', {schema} || '.' || run_id)
                      ELSE pg_notify('cableway_launch', {schema}) END) AS times
    FROM changed
)
SELECT coalesce(c.state, a.state) AS state, told.times
FROM asked AS a LEFT JOIN changed AS c ON c.run_id = a.run_id CROSS JOIN told
WHERE a.run_id = %(run_id)s

-- name: hear_cancels
-- Be told when somebody asks for the end of a run.
LISTEN cableway_cancel

-- name: hear_launches
-- Be told when a run may be launched that could not before.
LISTEN cableway_launch

-- name: launches_under_way
-- Containers that were asked for and have not begun yet.
SELECT r.run_id::text AS run_id, a.attempt, a.external_id
FROM {s}.runs AS r JOIN {s}.kept_attempts AS a ON a.run_id = r.run_id AND a.attempt = r.attempt + 1
WHERE r.ended_at IS NULL AND r.has_place AND r.state = 'launching' AND a.state = 'launching'
  AND a.external_id IS NOT NULL
  AND r.launching_since <= clock_timestamp() - %(age_s)s * interval '1 second'
ORDER BY r.launching_since LIMIT 100

-- name: reap
-- All that has gone without a word, by the database's clock: leases that ran out, containers that never began (dead:
-- those of which their platform says so), runs that nobody could launch, or that took too long over all attempts. Each
-- waits for its next attempt if its policy has one, or has ended.
WITH dead AS (
    SELECT * FROM jsonb_to_recordset(%(dead)s::jsonb) AS d (
        run_id uuid, attempt integer, exit_code integer, reason text)
), looked_at AS (
    SELECT run_id FROM {s}.runs
    WHERE ended_at IS NULL AND has_place
      AND (state IN ('launching', 'running', 'cancelling') OR started_at IS NOT NULL AND timeout_s IS NOT NULL)
    UNION
    SELECT run_id FROM {s}.runs
    WHERE ended_at IS NULL AND failing_since <= clock_timestamp() - %(deadline_s)s * interval '1 second'
), gone AS (
    SELECT r.*, d.run_id IS NOT NULL AS is_dead, d.exit_code AS dead_code, d.reason AS dead_reason,
           r.started_at + r.timeout_s * interval '1 second' <= clock_timestamp() IS TRUE AS is_late,
           coalesce(r.failing_since, r.launching_since)
               <= clock_timestamp() - %(deadline_s)s * interval '1 second' IS TRUE AS is_hopeless
    FROM {s}.runs AS r LEFT JOIN dead AS d ON d.run_id = r.run_id AND d.attempt = r.attempt + 1
    WHERE r.run_id = ANY(ARRAY(SELECT run_id FROM looked_at)) AND r.ended_at IS NULL
      AND CASE r.state
          WHEN 'running' THEN r.lease_expires_at <= clock_timestamp()
          WHEN 'cancelling' THEN r.lease_expires_at IS NULL OR r.lease_expires_at <= clock_timestamp()
          WHEN 'launching' THEN d.run_id IS NOT NULL
               OR r.launching_since <= clock_timestamp() - %(start_s)s * interval '1 second'
          WHEN 'queued' THEN r.failing_since <= clock_timestamp() - %(deadline_s)s * interval '1 second'
               OR r.started_at + r.timeout_s * interval '1 second' <= clock_timestamp()
          ELSE false END
    ORDER BY r.run_id FOR UPDATE OF r SKIP LOCKED
), judged AS (
    SELECT g.*,
           CASE WHEN g.state = 'cancelling' THEN 'cancelled'
                WHEN g.is_late THEN 'timed_out'
                WHEN g.state = 'running' AND g.tries < g.max_attempts THEN 'queued'
                WHEN g.state = 'running' THEN 'crashed'
                WHEN g.is_hopeless OR g.dead_code IN (2, 77, 78) THEN 'failed'
                WHEN g.state = 'launching' THEN 'queued'
                ELSE 'failed' END AS next_state,
           CASE WHEN g.state = 'launching'
                THEN least(%(launch_pause_s)s::float8, power(2, least(g.launch_failures, 32)))
                ELSE least(g.backoff_max_s, g.backoff_initial_s * g.backoff_factor ^ least(g.tries - 1, 64)) END
               * (0.5 + random() / 2) * interval '1 second' AS pause,
           CASE WHEN g.state IN ('running', 'cancelling') THEN 'its lease ran out'
                WHEN g.state = 'launching' THEN 'the container did not begin: '
                     || coalesce(g.dead_reason, 'not within ' || %(start_s)s || ' s')
                END AS reason
    FROM gone AS g
), changed AS (
    UPDATE {s}.runs AS r
    SET state = j.next_state,
        attempt = r.attempt + (r.state = 'launching')::integer,
        lease_expires_at = NULL, claim_id = NULL, launching_since = NULL,
        has_place = j.next_state = 'queued' AND j.tries > 0 OR r.overlap = 'allow',
        launch_failures = r.launch_failures + (r.state = 'launching')::integer,
        failing_since = CASE WHEN r.state = 'launching' THEN coalesce(r.failing_since, r.launching_since)
                             ELSE r.failing_since END,
        not_before = CASE WHEN j.next_state = 'queued' THEN clock_timestamp() + j.pause END,
        ended_at = CASE WHEN j.next_state <> 'queued' THEN clock_timestamp() END,
        exit_code = CASE j.next_state WHEN 'cancelled' THEN 3 WHEN 'timed_out' THEN 124 WHEN 'failed' THEN j.dead_code
                    END,
        error = CASE WHEN j.next_state = 'queued' AND j.state = 'queued' THEN r.error
                ELSE jsonb_strip_nulls(
                    (%(problems)s::jsonb -> CASE WHEN j.next_state IN ('cancelled', 'timed_out') THEN j.next_state
                                                 WHEN j.state = 'running' THEN 'crashed' ELSE 'failed' END)
                    || jsonb_build_object('detail', coalesce(
                        CASE j.next_state WHEN 'timed_out' THEN 'the run took longer than its timeout of '
                                               || j.timeout_s || ' s, over all its attempts'
                             WHEN 'cancelled' THEN 'the run was cancelled; the attempt at it gave no answer' END,
                        j.reason, r.error ->> 'detail', 'it could not be launched'))) END
    FROM judged AS j WHERE r.run_id = j.run_id
), late AS (
    INSERT INTO {s}.kept_attempts AS a (run_id, attempt, state, lease_token, external_id, reason, trace_id, created_at,
                                        started_at, ended_at)
    SELECT run_id, attempt, 'crashed', lease_token, external_id, 'its lease ran out', trace_id, begun_at, begun_at,
           clock_timestamp()
    FROM judged WHERE lease_expires_at IS NOT NULL
    ON CONFLICT (run_id, attempt) DO UPDATE
    SET state = excluded.state, lease_token = excluded.lease_token, reason = excluded.reason,
        trace_id = excluded.trace_id, external_id = coalesce(a.external_id, excluded.external_id),
        started_at = excluded.started_at, ended_at = excluded.ended_at
    RETURNING a.run_id, a.attempt, a.external_id
), unlaunched AS (
    UPDATE {s}.kept_attempts AS a
    SET state = 'failed', reason = coalesce(j.reason, a.reason), exit_code = coalesce(j.dead_code, a.exit_code),
        ended_at = clock_timestamp()
    FROM judged AS j WHERE a.run_id = j.run_id AND j.lease_expires_at IS NULL AND a.state = 'launching'
    RETURNING a.run_id, a.attempt, NULL AS external_id
), attempted AS (
    SELECT * FROM late UNION ALL SELECT * FROM unlaunched
), told AS (
    SELECT count(pg_notify('cableway_launch', {schema})) AS times FROM judged WHERE next_state <> 'queued'
)
SELECT j.run_id::text AS run_id, j.state AS state_before, j.next_state AS state, a.attempt, told.times,
       a.external_id
FROM judged AS j LEFT JOIN attempted AS a ON a.run_id = j.run_id CROSS JOIN told

-- name: end_lease
-- The lease of an attempt whose container its launcher has seen end: it runs out now. No row where the attempt has told
-- its outcome, or another one holds the run.
UPDATE {s}.runs AS r SET lease_expires_at = clock_timestamp()
FROM {s}.attempts AS a
WHERE r.run_id = %(run_id)s AND a.run_id = r.run_id AND a.attempt = r.attempt AND a.lease_token = r.lease_token
  AND a.state = 'running' AND split_part(a.external_id, ':', 1) = %(name)s
  AND r.state IN ('running', 'cancelling') AND r.lease_expires_at > clock_timestamp()
RETURNING a.attempt

-- name: note_end
-- What the platform says of an attempt that vanished.
UPDATE {s}.kept_attempts SET exit_code = %(exit_code)s, reason = %(reason)s
WHERE run_id = %(run_id)s AND attempt = %(attempt)s AND state = 'crashed' AND exit_code IS NULL

-- name: take_stops
-- Containers whose platform must end them, each once: their run was cancelled and they go on, or are still starting.
WITH unheard AS (
    INSERT INTO {s}.kept_attempts AS a (run_id, attempt, state, external_id, created_at, started_at, stop_asked_at)
    SELECT r.run_id, r.attempt, 'running', t.external_id, t.created_at, r.begun_at, clock_timestamp()
    FROM {s}.runs AS r JOIN {s}.attempts AS t ON t.run_id = r.run_id AND t.attempt = r.attempt
    WHERE r.ended_at IS NULL AND r.has_place AND r.state = 'cancelling' AND r.lease_expires_at IS NOT NULL
      AND r.cancel_asked_at <= clock_timestamp() - (r.grace_s + %(patience_s)s) * interval '1 second'
      AND t.external_id IS NOT NULL AND t.stop_asked_at IS NULL
    ON CONFLICT (run_id, attempt) DO UPDATE SET stop_asked_at = excluded.stop_asked_at
    WHERE a.stop_asked_at IS NULL
    RETURNING a.run_id, a.external_id
), unlaunched AS (
    UPDATE {s}.kept_attempts SET stop_asked_at = clock_timestamp()
    WHERE state = 'cancelled' AND started_at IS NULL AND stop_asked_at IS NULL AND external_id IS NOT NULL
    RETURNING run_id, external_id
)
SELECT t.run_id::text AS run_id, t.external_id, r.grace_s
FROM (SELECT * FROM unheard UNION ALL SELECT * FROM unlaunched) AS t JOIN {s}.runs AS r ON r.run_id = t.run_id

-- name: lock_launches
-- Who chooses the runs to be launched comes one after the other.
SELECT pg_advisory_xact_lock(hashtext('cableway.launches:' || {schema}), 0)

-- name: take_launches
-- The runs to be launched now, each for one asker alone: the oldest first, as many as may be starting at once, and of
-- a pipeline and key as many as have places. Groups are found by leaps, since one of them may be very long.
WITH RECURSIVE groups AS (
    (SELECT pipeline, overlap_key FROM {s}.runs
     WHERE ended_at IS NULL
     ORDER BY pipeline, overlap_key LIMIT 1)
    UNION ALL
    SELECT n.pipeline, n.overlap_key
    FROM groups AS g CROSS JOIN LATERAL (
        SELECT pipeline, overlap_key FROM {s}.runs
        WHERE ended_at IS NULL AND (pipeline, overlap_key) > (g.pipeline, g.overlap_key)
        ORDER BY pipeline, overlap_key LIMIT 1
    ) AS n
), room AS (
    SELECT greatest(0, %(max_launching)s - count(*)) AS places FROM {s}.runs
    WHERE ended_at IS NULL AND has_place AND state = 'launching'
), ready AS (
    SELECT q.run_id, q.created_at
    FROM groups AS g
    CROSS JOIN LATERAL (
        SELECT count(*) AS runs FROM {s}.runs AS r
        WHERE r.pipeline = g.pipeline AND r.overlap_key = g.overlap_key AND r.has_place
          AND r.ended_at IS NULL AND r.overlap <> 'allow'
    ) AS busy
    CROSS JOIN LATERAL (
        SELECT w.*, row_number() OVER (ORDER BY w.created_at, w.run_id) AS turn
        FROM (
            SELECT r.run_id, r.created_at, r.concurrency FROM {s}.runs AS r
            WHERE r.pipeline = g.pipeline AND r.overlap_key = g.overlap_key AND NOT r.has_place
              AND r.ended_at IS NULL AND r.state = 'queued'
              AND (r.not_before IS NULL OR r.not_before <= clock_timestamp())
            ORDER BY r.created_at, r.run_id LIMIT (SELECT places FROM room)
        ) AS w
    ) AS q
    WHERE (SELECT places FROM room) > 0 AND busy.runs + q.turn <= q.concurrency
    UNION ALL
    (SELECT r.run_id, r.created_at FROM {s}.runs AS r
     WHERE r.ended_at IS NULL AND r.has_place AND r.state = 'queued'
       AND (r.not_before IS NULL OR r.not_before <= clock_timestamp())
     ORDER BY r.created_at, r.run_id LIMIT (SELECT places FROM room))
), chosen AS (
    SELECT run_id FROM {s}.runs
    WHERE run_id = ANY(ARRAY(SELECT run_id FROM ready ORDER BY created_at, run_id LIMIT (SELECT places FROM room)))
      AND state = 'queued'
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE {s}.runs AS r SET state = 'launching', has_place = true, launching_since = clock_timestamp()
    FROM chosen WHERE r.run_id = chosen.run_id
    RETURNING r.run_id, r.attempt + 1 AS attempt
), begun AS (
    INSERT INTO {s}.kept_attempts (run_id, attempt, state)
    SELECT run_id, attempt, 'launching' FROM taken
    ON CONFLICT (run_id, attempt) DO NOTHING
)
SELECT run_id::text AS run_id, attempt FROM taken ORDER BY run_id

-- name: launched
-- A container was started for this attempt, whether it has begun to work meanwhile or not.
UPDATE {s}.kept_attempts SET external_id = %(external_id)s WHERE run_id = %(run_id)s AND attempt = %(attempt)s

-- name: not_launched
-- A launch failed. It is made again under the same name, for it may have been heard all the same; where that cannot
-- help, or did not for too long, the run has failed.
WITH asked AS (
    SELECT r.*, %(permanent)s OR coalesce(r.failing_since, clock_timestamp())
                <= clock_timestamp() - %(deadline_s)s * interval '1 second' AS is_hopeless
    FROM {s}.runs AS r WHERE r.run_id = %(run_id)s AND r.state = 'launching' AND r.attempt + 1 = %(attempt)s FOR UPDATE
), changed AS (
    UPDATE {s}.runs AS r
    SET state = CASE WHEN a.is_hopeless THEN 'failed' ELSE 'queued' END,
        has_place = NOT a.is_hopeless AND r.started_at IS NOT NULL OR r.overlap = 'allow',
        launch_failures = r.launch_failures + 1, launching_since = NULL,
        failing_since = coalesce(r.failing_since, clock_timestamp()),
        not_before = CASE WHEN NOT a.is_hopeless THEN clock_timestamp() + (0.5 + random() / 2) * interval '1 second'
                          * least(%(launch_pause_s)s::float8, power(2, least(r.launch_failures, 32))) END,
        ended_at = CASE WHEN a.is_hopeless THEN clock_timestamp() END,
        error = %(problem)s::jsonb
    FROM asked AS a WHERE r.run_id = a.run_id
    RETURNING r.run_id, r.state
), attempted AS (
    UPDATE {s}.kept_attempts AS t
    SET reason = %(problem)s::jsonb ->> 'detail', state = CASE WHEN c.state = 'failed' THEN 'failed' ELSE t.state END,
        ended_at = CASE WHEN c.state = 'failed' THEN clock_timestamp() END
    FROM changed AS c WHERE t.run_id = c.run_id AND t.attempt = %(attempt)s AND t.state = 'launching'
)
SELECT state FROM changed

-- name: next_launch
-- Seconds until a run may be launched that must not be yet.
SELECT extract(epoch FROM min(not_before) - clock_timestamp())::float8 AS wait_s
FROM {s}.runs WHERE ended_at IS NULL AND state = 'queued' AND not_before > clock_timestamp()
