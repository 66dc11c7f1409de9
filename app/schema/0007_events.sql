-- The guard: who has carried out which event. PURCHASE_CREATED has two consumers, hence both.
CREATE TABLE processed_events (
    consumer       text NOT NULL,
    event_id       uuid NOT NULL,
    correlation_id uuid NOT NULL,
    processed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

CREATE INDEX processed_events_correlation_id ON processed_events (correlation_id);

-- Rows come in the order of time: a few hundred bytes of index tell which blocks are old.
CREATE INDEX processed_events_processed_at ON processed_events USING brin (processed_at);

CREATE INDEX outbox_published_at ON outbox USING brin (published_at);

-- Attempts that events have spent, until they succeed or are given up.
CREATE TABLE event_failure (
    consumer   text NOT NULL,
    event_id   uuid NOT NULL,
    attempts   integer NOT NULL CHECK (attempts >= 1),
    last_error text NOT NULL,
    failed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);

-- id is derived from group, topic, partition and log_offset: a letter that is written again is this
-- one. event_id and correlation_id are there when the message could be read so far.
CREATE TABLE dead_letter (
    id             uuid PRIMARY KEY,
    consumer       text NOT NULL,
    group_name     text NOT NULL,
    topic          text NOT NULL,
    partition      integer NOT NULL,
    log_offset     bigint NOT NULL,
    message_key    text NOT NULL,
    message        bytea NOT NULL,
    headers        jsonb NOT NULL,
    event_id       uuid,
    correlation_id uuid,
    type           text,
    attempts       integer NOT NULL,
    error          text NOT NULL,
    stack          text NOT NULL,
    died_at        timestamptz NOT NULL DEFAULT now(),
    redriven_at    timestamptz
);

CREATE INDEX dead_letter_died_at ON dead_letter (died_at);

CREATE INDEX dead_letter_waiting ON dead_letter (consumer) WHERE redriven_at IS NULL;

-- The bus that needs nothing installed. The log keeps messages for replay, as Kafka's does; a
-- delivery is what one group has still to do with one of them.
CREATE TABLE event_log (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic        text NOT NULL,
    message_key  text NOT NULL,
    message      bytea NOT NULL,
    headers      jsonb NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX event_log_published_at ON event_log USING brin (published_at);

CREATE TABLE event_subscription (
    group_name text NOT NULL,
    topic      text NOT NULL,
    PRIMARY KEY (group_name, topic)
);

-- Held until leased_until by who received it. The lease is not indexed and a page has room left: its
-- updates are HOT.
CREATE TABLE event_delivery (
    group_name   text NOT NULL,
    log_id       bigint NOT NULL,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (group_name, log_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- One row a running process and consumer: its counts change with the batch that they count. Of those
-- that are gone the counts are added up in consumer_total.
CREATE TABLE consumer_instance (
    id            uuid PRIMARY KEY,
    consumer      text NOT NULL,
    host          text NOT NULL,
    pid           integer NOT NULL,
    state         text NOT NULL DEFAULT 'running',
    detail        text NOT NULL DEFAULT '',
    processed     bigint NOT NULL DEFAULT 0,
    redelivered   bigint NOT NULL DEFAULT 0,
    retried       bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    per_second    double precision NOT NULL DEFAULT 0,
    started_at    timestamptz NOT NULL DEFAULT now(),
    seen_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE consumer_total (
    consumer      text PRIMARY KEY,
    processed     bigint NOT NULL DEFAULT 0,
    redelivered   bigint NOT NULL DEFAULT 0,
    retried       bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0
);
