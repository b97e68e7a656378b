"""State: runs, versions, dead letters and spans, in Postgres or in memory."""
