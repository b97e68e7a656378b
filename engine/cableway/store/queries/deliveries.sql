-- Webhooks and cloud events: their triggers, what is kept of deliveries, and for how long.

-- name: hooks_of_names
-- The webhook triggers of these names that are switched on; a config is compared as text before it is read.
SELECT name, pipeline, config::text AS config FROM {s}.triggers
WHERE kind = 'webhook' AND enabled AND name = ANY(%(names)s)

-- name: event_triggers
-- Those for cloud events that are switched on.
SELECT name, pipeline, config::text AS config FROM {s}.triggers WHERE kind = 'event' AND enabled ORDER BY name

-- name: runs_of_deliveries
-- The runs that some keys have made, for deliveries that would make none today.
SELECT w.n, r.run_id::text AS run_id, (w.body_hash = d.body_hash) IS TRUE AS same_body
FROM jsonb_to_recordset(%(wishes)s::jsonb) AS w (n integer, pipeline text, key text, body_hash text)
JOIN {s}.runs AS r ON r.pipeline = w.pipeline AND r.key = w.key
LEFT JOIN {s}.deliveries AS d ON d.run_id = r.run_id

-- name: run_outcomes
-- How some runs stand, for those who wait for their end.
SELECT run_id::text AS run_id, state, exit_code, outputs, error, ended_at IS NOT NULL AS ended
FROM {s}.runs WHERE run_id = ANY(%(runs)s::uuid[])

-- name: keep_deliveries
-- Records of deliveries, as they came.
INSERT INTO {s}.delivery_records (delivery_id, trigger_name, received_at, verdict, status, step, error, key, run_id,
                                  headers, body, body_bytes)
SELECT r.delivery_id, r.trigger_name, to_timestamp(r.received_s), r.verdict, r.status, r.step, r.error, r.key, r.run_id,
       r.headers, decode(r.body, 'base64'), r.body_bytes
FROM jsonb_to_recordset(%(records)s::jsonb) AS r (
    delivery_id uuid, trigger_name text, received_s float8, verdict text, status integer, step text, error text,
    key text, run_id uuid, headers jsonb, body text, body_bytes bigint)
ON CONFLICT DO NOTHING

-- name: drop_delivery_records
-- Records that are too old, or more than a trigger keeps.
WITH kept AS (
    SELECT name, coalesce((config ->> 'record_days')::float8, 7) AS days,
           coalesce((config ->> 'record_last')::integer, 1000) AS last
    FROM {s}.triggers WHERE kind = 'webhook'
), counted AS (
    SELECT delivery_id, trigger_name, received_at,
           row_number() OVER (PARTITION BY trigger_name ORDER BY received_at DESC, delivery_id DESC) AS place
    FROM {s}.delivery_records
)
DELETE FROM {s}.delivery_records AS r USING counted AS c LEFT JOIN kept AS k ON k.name = c.trigger_name
WHERE r.delivery_id = c.delivery_id
  AND (c.place > coalesce(k.last, 0) OR c.received_at < now() - make_interval(secs => k.days * 86400))

-- name: forget_keys
-- Keys that were remembered for long enough: they may make another run now. A bounded number at a time.
WITH terms AS (
    SELECT name, coalesce((config ->> 'remember_days')::float8, 30) * 86400 AS seconds FROM {s}.triggers
), old AS (
    DELETE FROM {s}.deliveries WHERE run_id IN (
        SELECT d.run_id FROM {s}.deliveries AS d LEFT JOIN terms AS t ON t.name = d.trigger_name
        WHERE d.received_at < now() - make_interval(secs => (SELECT least(min(seconds), 2592000) FROM terms))
          AND d.received_at < now() - make_interval(secs => coalesce(t.seconds, 2592000))
        LIMIT 10000)
    RETURNING run_id
)
UPDATE {s}.runs AS r SET key = NULL FROM old WHERE r.run_id = old.run_id

-- name: delivery
-- One record with its body, and with the pipeline of the trigger as it is now.
SELECT d.delivery_id::text AS delivery_id, d.trigger_name, t.pipeline, d.received_at, d.verdict, d.status, d.step,
       d.error, d.key, d.run_id::text AS run_id, d.headers, d.body_bytes, d.body IS NOT NULL AS body_kept, d.body
FROM {s}.delivery_records AS d LEFT JOIN {s}.triggers AS t ON t.name = d.trigger_name
WHERE d.delivery_id::text = %(delivery_id)s

-- name: delivery_counts
-- What is known of each webhook's deliveries.
SELECT trigger_name, count(*) AS records, count(*) FILTER (WHERE verdict = 'refused') AS refused,
       max(received_at) AS last_at
FROM {s}.delivery_records GROUP BY trigger_name
