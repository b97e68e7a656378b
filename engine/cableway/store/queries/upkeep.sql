-- What is let go of in time. Each statement takes a batch, so that none holds locks for long.

-- name: prune_runs
-- Runs that ended before an instant, with all that hangs on them. One that another run refers to waits until that one is
-- gone, and so does one on whose line dead letters are not resolved, unless they may go too. One by whose key a
-- webhook's repetition is known stays as long as that is remembered.
WITH old AS (
    SELECT r.run_id FROM {s}.runs AS r
    WHERE r.ended_at < %(before)s AND (%(pipeline)s::text IS NULL OR r.pipeline = %(pipeline)s)
      AND NOT EXISTS (SELECT FROM {s}.runs AS c WHERE c.replay_of = r.run_id OR c.parent_run_id = r.run_id)
      AND NOT EXISTS (SELECT FROM {s}.deliveries AS d WHERE d.run_id = r.run_id)
      AND (%(force)s OR NOT EXISTS (
          SELECT FROM {s}.runs AS o JOIN {s}.dead_letters AS l ON l.run_id = o.run_id
          WHERE o.line = r.line AND l.state <> 'resolved'
      ))
    ORDER BY r.ended_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {s}.runs USING old WHERE runs.run_id = old.run_id RETURNING runs.run_id
)
SELECT count(*)::int AS count FROM gone

-- name: prune_ticks
-- What was decided before an instant.
WITH old AS (
    SELECT scheduler_id, tick_from FROM {s}.ticks
    WHERE decided_at < %(before)s AND (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s)
    LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {s}.ticks AS t USING old
    WHERE t.scheduler_id = old.scheduler_id AND t.tick_from = old.tick_from RETURNING 1
)
SELECT count(*)::int AS count FROM gone

-- name: prune_deliveries
-- Deliveries that were kept to be looked at. Those by which repetitions are known go with their runs.
WITH old AS (
    SELECT d.delivery_id FROM {s}.delivery_records AS d
    WHERE d.received_at < %(before)s AND (%(pipeline)s::text IS NULL OR d.trigger_name IN (
        SELECT name FROM {s}.triggers WHERE pipeline = %(pipeline)s
    ))
    LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {s}.delivery_records AS d USING old WHERE d.delivery_id = old.delivery_id RETURNING 1
)
SELECT count(*)::int AS count FROM gone

-- name: prune_versions
-- Versions without runs: of a pipeline that was archived before an instant all of them, else those that were made before
-- it and are neither active nor what the active one would be rolled back to.
WITH old AS (
    SELECT v.pipeline, v.version FROM {s}.pipeline_versions AS v
    JOIN {s}.pipelines AS p ON p.name = v.pipeline
    JOIN {s}.pipeline_versions AS a ON a.pipeline = p.name AND a.version = p.active_version
    WHERE (%(pipeline)s::text IS NULL OR p.name = %(pipeline)s)
      AND NOT EXISTS (SELECT FROM {s}.runs AS r WHERE r.pipeline = v.pipeline AND r.version = v.version)
      AND CASE WHEN v.version = p.active_version
          THEN p.archived_at < %(before)s AND NOT EXISTS (SELECT FROM {s}.runs AS r WHERE r.pipeline = p.name)
          ELSE p.archived_at < %(before)s
               OR (v.created_at < %(before)s AND v.version IS DISTINCT FROM a.previous_version) END
    ORDER BY v.pipeline, v.version = p.active_version, v.version LIMIT %(batch)s FOR UPDATE OF v SKIP LOCKED
), gone AS (
    DELETE FROM {s}.pipeline_versions AS v USING old
    WHERE v.pipeline = old.pipeline AND v.version = old.version RETURNING v.pipeline, v.version
), emptied AS (
    DELETE FROM {s}.pipelines AS p USING gone WHERE p.name = gone.pipeline AND p.active_version = gone.version
)
SELECT count(*)::int AS count FROM gone

-- name: prunable
-- How many of each there are, without the bounds of a batch.
SELECT (
    SELECT count(*) FROM {s}.runs AS r
    WHERE r.ended_at < %(before)s AND (%(pipeline)s::text IS NULL OR r.pipeline = %(pipeline)s)
      AND NOT EXISTS (SELECT FROM {s}.deliveries AS d WHERE d.run_id = r.run_id)
      AND NOT EXISTS (
          SELECT FROM {s}.runs AS c
          WHERE (c.replay_of = r.run_id OR c.parent_run_id = r.run_id) AND (c.ended_at < %(before)s) IS NOT TRUE
      )
      AND (%(force)s OR NOT EXISTS (
          SELECT FROM {s}.runs AS o JOIN {s}.dead_letters AS l ON l.run_id = o.run_id
          WHERE o.line = r.line AND l.state <> 'resolved'
      ))
)::int AS runs, (
    SELECT count(*) FROM {s}.ticks
    WHERE decided_at < %(before)s AND (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s)
)::int AS ticks, (
    SELECT count(*) FROM {s}.delivery_records
    WHERE received_at < %(before)s AND (%(pipeline)s::text IS NULL OR trigger_name IN (
        SELECT name FROM {s}.triggers WHERE pipeline = %(pipeline)s
    ))
)::int AS deliveries, (
    SELECT count(*) FROM {s}.pipeline_versions AS v
    JOIN {s}.pipelines AS p ON p.name = v.pipeline
    JOIN {s}.pipeline_versions AS a ON a.pipeline = p.name AND a.version = p.active_version
    WHERE (%(pipeline)s::text IS NULL OR p.name = %(pipeline)s)
      AND NOT EXISTS (
          SELECT FROM {s}.runs AS r
          WHERE r.pipeline = v.pipeline AND r.version = v.version AND (r.ended_at < %(before)s) IS NOT TRUE
      )
      AND CASE WHEN v.version = p.active_version
          THEN p.archived_at < %(before)s AND NOT EXISTS (
              SELECT FROM {s}.runs AS r WHERE r.pipeline = p.name AND (r.ended_at < %(before)s) IS NOT TRUE
          )
          ELSE p.archived_at < %(before)s
               OR (v.created_at < %(before)s AND v.version IS DISTINCT FROM a.previous_version) END
)::int AS versions
