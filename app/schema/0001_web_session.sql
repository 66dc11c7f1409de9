-- data is rewritten on most writes: fillfactor 70 leaves room for the new version in the same page.
-- expires_at is indexed, so that a write that moves it cannot be HOT; it is moved seldom.
CREATE TABLE web_session (
    id          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    sid_hash    bytea PRIMARY KEY CHECK (octet_length(sid_hash) = 32),
    user_id     text,
    data        bytea NOT NULL,
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    absolute_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX web_session_expires_at ON web_session (expires_at);

CREATE INDEX web_session_user_id ON web_session (user_id) WHERE user_id IS NOT NULL;
