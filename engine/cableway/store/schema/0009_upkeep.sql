-- What is kept of attempts for those who look after runs.

ALTER TABLE kept_attempts ADD COLUMN profile jsonb;
COMMENT ON COLUMN kept_attempts.profile IS 'how long the workers of each stage were busy at a time; what runs explain replays';

-- All attempts, the one at work as its run's row has it.
CREATE VIEW attempts AS
SELECT r.run_id, r.attempt, 'running' AS state, r.lease_token, coalesce(a.external_id, r.external_id) AS external_id,
       NULL::integer AS exit_code, NULL AS reason, r.trace_id, coalesce(a.created_at, r.begun_at) AS created_at,
       r.begun_at AS started_at, NULL::timestamptz AS ended_at, a.stop_asked_at, NULL::jsonb AS profile
FROM runs AS r LEFT JOIN kept_attempts AS a ON a.run_id = r.run_id AND a.attempt = r.attempt
WHERE r.lease_expires_at IS NOT NULL
UNION ALL
SELECT a.run_id, a.attempt, a.state, a.lease_token, a.external_id, a.exit_code, a.reason, a.trace_id, a.created_at,
       a.started_at, a.ended_at, a.stop_asked_at, a.profile
FROM kept_attempts AS a JOIN runs AS r ON r.run_id = a.run_id
WHERE r.lease_expires_at IS NULL OR a.attempt <> r.attempt;
