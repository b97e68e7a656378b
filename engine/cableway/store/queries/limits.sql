-- Limits that all runs share: what people set, and what runs draw of them.

-- name: limits
-- With what is taken of them now, under leases that hold.
SELECT l.name, l.concurrency, l.rate, l.period_s, coalesce(t.slots, 0)::integer AS slots_taken, l.updated_at
FROM {s}.limits AS l
LEFT JOIN LATERAL (
    SELECT sum(s.slots) AS slots
    FROM {s}.limit_slots AS s JOIN {s}.runs AS r ON r.run_id = s.run_id AND r.lease_token = s.lease_token
    WHERE s.limit_name = l.name AND r.lease_expires_at > clock_timestamp()
) AS t ON true
WHERE %(name)s::text IS NULL OR l.name = %(name)s ORDER BY l.name

-- name: set_limit
-- A limit that is new begins with a full period's units.
INSERT INTO {s}.limits AS l (name, concurrency, rate, period_s, tokens)
VALUES (%(name)s, %(concurrency)s, %(rate)s, %(period_s)s, coalesce(%(rate)s::float8, 0))
ON CONFLICT (name) DO UPDATE
SET concurrency = excluded.concurrency, rate = excluded.rate, period_s = excluded.period_s,
    tokens = CASE WHEN l.rate IS NULL THEN excluded.tokens ELSE least(l.tokens, coalesce(excluded.rate, 0)) END,
    filled_at = CASE WHEN l.rate IS NULL THEN clock_timestamp() ELSE l.filled_at END, updated_at = now()

-- name: delete_limit
DELETE FROM {s}.limits WHERE name = %(name)s RETURNING name

-- name: lock_limit
-- Who draws of a limit comes one after the other, and each sees what the one before took.
SELECT name FROM {s}.limits WHERE name = %(name)s FOR UPDATE

-- name: draw_limit
-- Places up to the number wanted, given back where that is lower than before; and a block of starts, which grow with
-- the database's clock. No row where there is no such limit, or the run is not ours any more.
WITH asked AS (
    SELECT run_id, lease_token FROM {s}.runs
    WHERE run_id = %(run_id)s AND lease_token = %(token)s AND state IN ('running', 'cancelling') FOR SHARE
), known AS (
    SELECT l.*, least(l.rate, l.tokens + l.rate / l.period_s
                              * greatest(0, extract(epoch FROM clock_timestamp() - l.filled_at)::float8)) AS full_to
    FROM {s}.limits AS l WHERE l.name = %(name)s
), granted AS (
    SELECT k.name, a.run_id, a.lease_token, k.full_to, k.rate / k.period_s AS per_s, k.rate,
           CASE WHEN k.concurrency IS NULL THEN %(slots)s
                ELSE greatest(least(%(slots)s, k.concurrency - (
                    SELECT coalesce(sum(s.slots), 0)
                    FROM {s}.limit_slots AS s JOIN {s}.runs AS r ON r.run_id = s.run_id AND r.lease_token = s.lease_token
                    WHERE s.limit_name = k.name AND s.run_id <> a.run_id
                      AND r.lease_expires_at > clock_timestamp())), %(slots_in_use)s) END::integer AS slots,
           CASE WHEN k.rate IS NULL THEN %(starts)s
                ELSE greatest(0, least(%(starts)s, floor(k.full_to))) END::integer AS starts
    FROM asked AS a CROSS JOIN known AS k
), counted AS (
    UPDATE {s}.limits AS l SET tokens = g.full_to - g.starts, filled_at = clock_timestamp()
    FROM granted AS g WHERE l.name = g.name AND g.rate IS NOT NULL
), placed AS (
    INSERT INTO {s}.limit_slots AS s (limit_name, run_id, lease_token, slots)
    SELECT name, run_id, lease_token, slots FROM granted
    ON CONFLICT (limit_name, run_id) DO UPDATE SET slots = excluded.slots, lease_token = excluded.lease_token
)
SELECT slots, starts, (rate IS NOT NULL) AS has_rate,
       CASE WHEN rate IS NULL THEN 0 ELSE greatest(0, 1 - (full_to - starts)) / per_s END::float8 AS next_start_s,
       coalesce(per_s, 0)::float8 AS per_s
FROM granted
