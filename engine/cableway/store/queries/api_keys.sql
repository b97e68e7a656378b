-- Keys that open the API: made, looked up with each request, revoked.

-- name: insert_api_key
INSERT INTO {s}.api_keys (prefix, name, secret_hash, scopes, pipelines, expires_at)
VALUES (%(prefix)s, %(name)s, %(secret_hash)s, %(scopes)s, %(pipelines)s::text[],
        now() + make_interval(secs => %(expires_in_s)s::float8))
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING prefix, name, scopes, pipelines, created_at, expires_at, revoked_at, last_used_at

-- name: api_keys
SELECT prefix, name, scopes, pipelines, created_at, expires_at, revoked_at, last_used_at
FROM {s}.api_keys ORDER BY created_at, prefix

-- name: api_key
-- By its prefix, with what only the database's clock can say.
SELECT prefix, name, secret_hash, scopes, pipelines,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS live,
       last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS stale
FROM {s}.api_keys WHERE prefix = %(prefix)s

-- name: api_keys_counted
-- A database that has had a key stays closed to those who have none.
SELECT count(*) AS known,
       count(*) FILTER (WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) AS live
FROM {s}.api_keys

-- name: api_key_used
-- To the minute, so that a busy key is not a row that everybody waits for.
UPDATE {s}.api_keys SET last_used_at = now()
WHERE prefix = %(prefix)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: revoke_api_key
UPDATE {s}.api_keys SET revoked_at = now()
WHERE revoked_at IS NULL AND (name = %(name)s OR prefix = %(name)s)
RETURNING prefix, name, scopes, pipelines, created_at, expires_at, revoked_at, last_used_at
