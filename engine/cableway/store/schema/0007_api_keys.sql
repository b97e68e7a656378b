-- Keys that open the API. What is kept of one is the hash of its random secret, which needs no salt and no stretching.

CREATE TABLE api_keys (
    prefix       text PRIMARY KEY,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) >= 1),
    pipelines    text[] CHECK (cardinality(pipelines) >= 1),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
COMMENT ON COLUMN api_keys.prefix IS 'the part of the key by which it is found; no secret';
COMMENT ON COLUMN api_keys.pipelines IS 'null: all of them';

-- A name can be given again once its key is revoked.
CREATE UNIQUE INDEX api_keys_by_name ON api_keys (name) WHERE revoked_at IS NULL;
