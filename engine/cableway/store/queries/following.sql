-- What is asked of a run while it goes on, and what hangs together with it.

-- name: pulse
SELECT r.state, r.attempt, r.exit_code, r.not_before, r.ended_at IS NOT NULL AS ended,
       (SELECT count(*) FROM {s}.dead_letters AS l WHERE l.run_id = r.run_id)::int AS dead_letters
FROM {s}.runs AS r WHERE r.run_id = %(run_id)s

-- name: linked_runs
SELECT l.link, r.run_id::text AS run_id, r.state
FROM {s}.runs AS o
CROSS JOIN LATERAL (
    SELECT 'replays' AS link, o.replay_of AS run_id WHERE o.replay_of IS NOT NULL
    UNION ALL SELECT 'part_of', o.parent_run_id WHERE o.parent_run_id IS NOT NULL
    UNION ALL SELECT 'replayed_by', c.run_id FROM {s}.runs AS c WHERE c.replay_of = o.run_id
    UNION ALL SELECT 'part', c.run_id FROM {s}.runs AS c WHERE c.parent_run_id = o.run_id
) AS l
JOIN {s}.runs AS r ON r.run_id = l.run_id
WHERE o.run_id = %(run_id)s ORDER BY r.created_at, r.run_id LIMIT 1000

-- name: held_places
SELECT limit_name AS name, sum(slots)::int AS slots FROM {s}.limit_slots
WHERE run_id = %(run_id)s GROUP BY limit_name ORDER BY limit_name
