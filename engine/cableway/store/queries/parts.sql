-- Runs in parts: the run itself is claimed by nobody, and what becomes of it is what becomes of its parts.

-- name: record_parts
-- The parts of a run that was recorded before in this transaction, pinned to what it is pinned to. As one that runs
-- and has no place it is launched, claimed and reaped by nobody.
WITH whole AS (
    UPDATE {s}.runs SET state = 'running', has_place = false, started_at = clock_timestamp()
    WHERE run_id = %(run_id)s AND state = 'queued' AND part IS NULL
    RETURNING *
)
INSERT INTO {s}.runs (run_id, pipeline, version, state, parameters, line, lease_ttl_s, parent_run_id, part, parts,
                      scheduler_name, trigger_name, scheduled_at, not_before, traceparent, tracestate, overlap, has_place,
                      overlap_key, concurrency, max_attempts, backoff_initial_s, backoff_factor, backoff_max_s,
                      timeout_s, grace_s)
SELECT p.run_id, w.pipeline, w.version, 'queued', w.parameters, gen_random_uuid(), w.lease_ttl_s, w.run_id, p.part,
       w.parts, w.scheduler_name, w.trigger_name, w.scheduled_at, w.not_before, w.traceparent, w.tracestate,
       CASE WHEN w.overlap = 'allow' THEN 'allow' ELSE 'queue_all' END, w.overlap = 'allow', w.overlap_key,
       w.concurrency, w.max_attempts, w.backoff_initial_s, w.backoff_factor, w.backoff_max_s, w.timeout_s, w.grace_s
FROM whole AS w, unnest(%(run_ids)s::uuid[]) WITH ORDINALITY AS p (run_id, part)

-- name: parts_of
-- The parts of a run.
SELECT run_id::text AS run_id FROM {s}.runs WHERE parent_run_id = %(run_id)s ORDER BY part

-- name: whole_line
-- The line of the run that a part belongs to.
SELECT w.line::text AS line FROM {s}.runs AS p JOIN {s}.runs AS w ON w.run_id = p.parent_run_id
WHERE p.run_id = %(run_id)s AND p.lease_token = %(token)s AND p.state IN ('running', 'cancelling')

-- name: take_share
-- What a part loads, where that is planned or comes with this; of two plans the first one holds. No row where the part
-- is not held any more. With a plan may come what stands at the cursor from then on.
WITH planned AS (
    UPDATE {s}.runs AS w SET shares = coalesce(w.shares, %(shares)s::jsonb)
    FROM {s}.runs AS p
    WHERE p.run_id = %(run_id)s AND p.lease_token = %(token)s AND p.state IN ('running', 'cancelling')
      AND w.run_id = p.parent_run_id
    RETURNING w.run_id, w.line, w.shares -> (p.part - 1) AS share, p.lease_token
), marked AS (
    UPDATE {s}.cursors AS c
    SET position = %(cursor)s::jsonb, run_id = planned.run_id, updated_at = clock_timestamp(),
        lease_token = greatest(c.lease_token, planned.lease_token)
    FROM planned WHERE c.line = planned.line AND %(cursor)s::jsonb IS NOT NULL
)
SELECT share FROM planned

-- name: part_cursors
-- How far each part of a part's whole is, in their order; no row where the part is not held any more.
SELECT coalesce(c.position, '{}') AS cursor
FROM {s}.runs AS held JOIN {s}.runs AS p ON p.parent_run_id = held.parent_run_id
LEFT JOIN {s}.cursors AS c ON c.line = p.line
WHERE held.run_id = %(run_id)s AND held.lease_token = %(token)s AND held.state IN ('running', 'cancelling')
ORDER BY p.part

-- name: close_whole
-- The cursor that the parts of a run have moved together; nothing where it has gone on since.
WITH held AS (
    SELECT parent_run_id, lease_token FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
), closed AS (
    UPDATE {s}.cursors AS c
    SET position = c.position - 'parts_of' || %(done)s::jsonb, updated_at = clock_timestamp(),
        lease_token = greatest(c.lease_token, held.lease_token)
    FROM held JOIN {s}.runs AS w ON w.run_id = held.parent_run_id
    WHERE c.line = w.line AND c.position ->> 'parts_of' = w.run_id::text
)
SELECT true AS held FROM held

-- name: close_wholes
-- The outcome of the run that a part belongs to, once all its parts have ended: that of the part that fared worst, with
-- what all have counted. Asked by two parts at a time it comes to the same, and a part that is worked on again changes
-- it again. Without a part it is asked for all open runs: parts may have been reaped, or cancelled before they began.
WITH whole AS (
    SELECT w.run_id, w.parts FROM {s}.runs AS p JOIN {s}.runs AS w ON w.run_id = p.parent_run_id
    WHERE p.run_id = %(run_id)s::uuid
    UNION ALL
    SELECT run_id, parts FROM {s}.runs
    WHERE %(run_id)s::uuid IS NULL AND ended_at IS NULL AND parts IS NOT NULL AND part IS NULL
), ended AS (
    SELECT w.run_id, array_agg(p.run_id ORDER BY array_position(
               ARRAY['failed', 'crashed', 'timed_out', 'cancelled', 'interrupted', 'completed_with_errors'], p.state),
               p.part) AS members,
           sum(p.rows_in) AS rows_in, sum(p.rows_out) AS rows_out, max(p.ended_at) AS ended_at
    FROM whole AS w JOIN {s}.runs AS p ON p.parent_run_id = w.run_id
    GROUP BY w.run_id, w.parts
    HAVING count(p.ended_at) = w.parts
)
UPDATE {s}.runs AS r
SET state = worst.state, exit_code = worst.exit_code, error = worst.error, ended_at = e.ended_at, rows_in = e.rows_in,
    rows_out = e.rows_out, counts = (
        SELECT jsonb_object_agg(c.key, c.total)
        FROM (SELECT n.key, sum(n.value::bigint) AS total
              FROM {s}.runs AS p CROSS JOIN LATERAL jsonb_each_text(p.counts) AS n
              WHERE p.parent_run_id = r.run_id GROUP BY n.key) AS c)
FROM ended AS e JOIN {s}.runs AS worst ON worst.run_id = e.members[1]
WHERE r.run_id = e.run_id
RETURNING r.run_id::text AS run_id, r.state
