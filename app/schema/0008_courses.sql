-- What the consumers write. event_id is the event that a row follows from: with it a replay finds the
-- row even when the guard's is purged, or the row is not active any more.
CREATE TABLE student_course_purchases (
    id                  uuid PRIMARY KEY,
    student_id          text NOT NULL,
    course_id           text NOT NULL,
    provider_payment_id text NOT NULL,
    amount              numeric(12, 2) NOT NULL CHECK (amount > 0),
    is_active           boolean NOT NULL DEFAULT true,
    event_id            uuid NOT NULL UNIQUE,
    correlation_id      uuid NOT NULL,
    purchased_at        timestamptz NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX student_course_purchases_active
    ON student_course_purchases (student_id, course_id) WHERE is_active;

CREATE TABLE trainer_allocations (
    id                  uuid PRIMARY KEY,
    purchase_id         uuid NOT NULL,
    student_id          text NOT NULL,
    course_id           text NOT NULL,
    trainer_id          text NOT NULL,
    admin_allocation_id text NOT NULL,
    status              text NOT NULL
        CHECK (status IN ('approved', 'active', 'completed', 'cancelled')),
    session_time        time NOT NULL,
    event_id            uuid NOT NULL UNIQUE,
    correlation_id      uuid NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX trainer_allocations_current
    ON trainer_allocations (student_id, course_id) WHERE status IN ('approved', 'active');

CREATE TABLE course_sessions (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    allocation_id uuid NOT NULL REFERENCES trainer_allocations (id),
    session_date  date NOT NULL,
    session_time  time NOT NULL,
    status        text NOT NULL DEFAULT 'scheduled'
        CHECK (status IN ('scheduled', 'held', 'cancelled')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (allocation_id, session_date, session_time)
);
