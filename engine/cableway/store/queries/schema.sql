-- What makes the schema and knows its version.

-- name: schema_numbers
-- The migrations that a schema has, with their hashes.
SELECT number, hash FROM {s}.migrations ORDER BY number

-- name: has_migrations
-- Whether the schema is there, and whether it holds tables of ours.
SELECT to_regnamespace(%(schema)s) IS NOT NULL AS has_schema, to_regclass(%(table)s) IS NOT NULL AS has_table

-- name: lock_schema
-- Two instances that start on an empty database: one of them waits here.
SELECT pg_advisory_xact_lock(hashtextextended('cableway.schema:' || {schema}, 0))

-- name: limit_locks
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: create_schema
-- Only where it is missing: the right to create schemas is not asked of those who have one.
CREATE SCHEMA IF NOT EXISTS {s}

-- name: use_schema
-- Migrations write names without a schema. For this transaction alone, so a pooled connection keeps nothing of it.
SET LOCAL search_path TO {s}

-- name: create_migrations
CREATE TABLE IF NOT EXISTS {s}.migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    hash       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: add_migration
INSERT INTO {s}.migrations (number, name, hash) VALUES (%(number)s, %(name)s, %(hash)s)
