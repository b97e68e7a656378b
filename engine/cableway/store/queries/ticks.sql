-- What decides the ticks of schedulers, and what is on record of them.

-- name: due_schedulers
-- Those that somebody should look at, most overdue first, but for those that another transaction has in hand.
SELECT scheduler_id::text AS scheduler_id, name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup,
       catchup_window_s, max_catchup_runs, overlap, jitter_s, starts_at, ends_at, paused, error, decided_to,
       coalesce(%(now)s, statement_timestamp()) AS now
FROM {s}.schedulers
WHERE next_at <= coalesce(%(now)s, statement_timestamp())
  AND (%(names)s::text[] IS NULL OR name = ANY(%(names)s))
ORDER BY next_at, name LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED

-- name: schedulers_in_hand
-- The schedulers of these names, whether they are due or not; waits for whoever has them.
SELECT scheduler_id::text AS scheduler_id, name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup,
       catchup_window_s, max_catchup_runs, overlap, jitter_s, starts_at, ends_at, paused, error, decided_to,
       coalesce(%(now)s, statement_timestamp()) AS now
FROM {s}.schedulers WHERE name = ANY(%(names)s) ORDER BY next_at, name
FOR NO KEY UPDATE

-- name: rules_of_triggers
-- Asked after the schedulers are in hand, so that it sees whatever was changed before.
SELECT name, expression, enabled FROM {s}.triggers WHERE name = ANY(%(names)s)

-- name: settle_ticks
-- What was decided, and when each scheduler is looked at next.
WITH told AS (
    INSERT INTO {s}.ticks (scheduler_id, tick_from, tick_to, count, scheduler_name, pipeline, reason, run_id, detail)
    SELECT * FROM jsonb_to_recordset(%(ticks)s::jsonb) AS t (
        scheduler_id uuid, tick_from timestamptz, tick_to timestamptz, count bigint, scheduler_name text,
        pipeline text, reason text, run_id uuid, detail text)
    ON CONFLICT (scheduler_id, tick_from) DO NOTHING
)
UPDATE {s}.schedulers AS s
SET decided_to = greatest(s.decided_to, p.decided_to), next_at = p.next_at, error = p.error
FROM jsonb_to_recordset(%(plans)s::jsonb) AS p (
    scheduler_id uuid, decided_to timestamptz, next_at timestamptz, error text)
WHERE s.scheduler_id = p.scheduler_id

-- name: next_tick
-- When somebody should look next, what time it is, and how many cannot be read; each is one look into an index.
SELECT statement_timestamp() AS now, (SELECT count(*) FROM {s}.schedulers WHERE error IS NOT NULL) AS faulty, (
    SELECT next_at FROM {s}.schedulers
    WHERE next_at IS NOT NULL AND (%(names)s::text[] IS NULL OR name = ANY(%(names)s))
    ORDER BY next_at LIMIT 1
) AS next_at

-- name: wake_schedulers
-- Have them looked at again, because a rule that they follow has changed.
UPDATE {s}.schedulers SET next_at = clock_timestamp() WHERE name = ANY(%(names)s)

-- name: count_failures_anew
-- Somebody has resumed it, so what failed before is forgiven.
UPDATE {s}.schedulers SET active_since = clock_timestamp() WHERE name = %(name)s

-- name: pause_failing
-- Pause those whose last runs have all failed for good, as many in a row as they bear.
WITH failing AS (
    SELECT s.name
    FROM {s}.schedulers AS s
    CROSS JOIN LATERAL (
        SELECT count(*) AS failed FROM (
            SELECT r.state FROM {s}.runs AS r
            WHERE r.scheduler_name = s.name AND r.created_at >= s.active_since
              AND r.state IN ('succeeded', 'completed_with_errors', 'failed', 'timed_out', 'crashed')
              AND r.ended_at IS NOT NULL
            ORDER BY r.created_at DESC LIMIT s.pause_after_failures
        ) AS newest WHERE newest.state IN ('failed', 'timed_out', 'crashed')
    ) AS counted
    WHERE s.pause_after_failures IS NOT NULL AND NOT s.paused AND counted.failed >= s.pause_after_failures
)
UPDATE {s}.schedulers AS s
SET paused = true, pause_note = 'its last ' || s.pause_after_failures || ' runs failed', revision = s.revision + 1,
    updated_at = now(), next_at = clock_timestamp()
FROM failing WHERE s.name = failing.name AND NOT s.paused
RETURNING s.name, s.pause_note

-- name: scheduler_plans
-- How schedulers stand, for people.
SELECT s.name, s.pipeline, s.trigger_name, s.parameters, t.expression, t.enabled, s.timezone, s.dst_gap, s.paused, s.pause_note,
       s.starts_at, s.ends_at, s.next_at, s.decided_to, s.error, s.scheduler_id::text AS scheduler_id,
       statement_timestamp() AS now
FROM {s}.schedulers AS s JOIN {s}.triggers AS t ON t.name = s.trigger_name
WHERE %(name)s::text IS NULL OR s.name = %(name)s ORDER BY s.name

-- name: ticks
-- What was decided of a scheduler, the latest first.
SELECT scheduler_name, tick_from, tick_to, count, reason, run_id::text AS run_id, detail, decided_at
FROM {s}.ticks WHERE scheduler_id = (SELECT scheduler_id FROM {s}.schedulers WHERE name = %(name)s)
ORDER BY tick_from DESC LIMIT %(limit)s

-- name: mark_backfill
UPDATE {s}.runs SET backfill_id = %(backfill_id)s WHERE run_id = ANY(%(run_ids)s::uuid[])
