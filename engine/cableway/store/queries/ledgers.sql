-- What exporters ask about lines of which a destination still keeps keys.

-- name: ended_lines
-- Of some lines those of our own runs whose last run ended so many days ago, with no open dead letter. A line of a
-- cursor lives on, unless it was a backfill's.
SELECT r.line::text AS line FROM {s}.runs AS r
WHERE r.line::text = ANY(%(lines)s)
GROUP BY r.line
HAVING bool_and(r.ended_at < now() - make_interval(secs => %(days)s * 86400))
   AND NOT EXISTS (SELECT FROM {s}.cursors AS c WHERE c.line = r.line AND c.loader IS NOT NULL AND c.epoch >= 0)
   AND NOT EXISTS (
       SELECT FROM {s}.dead_letters AS d JOIN {s}.runs AS o USING (run_id)
       WHERE o.line = r.line AND d.state <> 'resolved'
   )

-- name: has_open_letters
-- Whether a line has dead letters that wait for a replay.
SELECT EXISTS (
    SELECT FROM {s}.dead_letters AS d JOIN {s}.runs AS r USING (run_id)
    WHERE r.line::text = %(line)s AND d.state <> 'resolved'
) AS open
