"""Postgres as source and sink: what is read of a table, and how rows get into one exactly once."""
