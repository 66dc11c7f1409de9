-- What happened, written in the transaction in which it happened.
CREATE TABLE outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       uuid NOT NULL UNIQUE,
    type           text NOT NULL,
    version        integer NOT NULL CHECK (version >= 1),
    correlation_id uuid NOT NULL,
    causation_id   uuid,
    occurred_at    timestamptz NOT NULL,
    payload        jsonb NOT NULL,
    published_at   timestamptz
);

-- As small as what waits, however long the history.
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
