-- What webhooks and cloud events brought, with the verdict on each.

-- One for each run: a trigger that was given another pipeline may make a second run of a key.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_pkey, ADD PRIMARY KEY (run_id);
DROP INDEX deliveries_by_run;
CREATE INDEX deliveries_by_age ON deliveries (received_at);
COMMENT ON TABLE deliveries IS 'keys that are remembered: as long as one is here, its run has it';

CREATE TABLE delivery_records (
    delivery_id  uuid PRIMARY KEY,
    trigger_name text NOT NULL,
    received_at  timestamptz NOT NULL,
    verdict      text NOT NULL CHECK (verdict IN ('accepted', 'replayed', 'filtered', 'refused')),
    status       integer NOT NULL,
    step         text,
    error        text,
    key          text,
    run_id       uuid,
    headers      jsonb NOT NULL,
    body         bytea,
    body_bytes   bigint NOT NULL
);
COMMENT ON TABLE delivery_records IS 'some deliveries as they came, to be looked at and sent again; nothing hangs on them';
COMMENT ON COLUMN delivery_records.step IS 'at which it was refused: form, signature, rate, idempotency, mapping, overlap';
COMMENT ON COLUMN delivery_records.headers IS 'masked where they may hold a secret';
COMMENT ON COLUMN delivery_records.body IS 'null: it was too large to be kept';
CREATE INDEX delivery_records_by_trigger ON delivery_records (trigger_name, received_at DESC);
