-- The key fits into a B-tree's entry (2704 bytes) also when each id has 200 characters of 4 bytes.
-- event_id names a row of outbox, which may be removed once it is published: no foreign key.
CREATE TABLE payment (
    provider_payment_id text NOT NULL,
    student_id          text NOT NULL,
    course_id           text NOT NULL,
    amount              numeric(12, 2) NOT NULL CHECK (amount > 0),
    event_id            uuid NOT NULL UNIQUE,
    correlation_id      uuid NOT NULL,
    confirmed_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider_payment_id, student_id, course_id)
);
