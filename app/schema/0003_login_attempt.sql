-- One row an account and one an address, each by a digest, for as long as its window lasts.
-- attempts holds the ids of those that failed or are under way: adding one twice, or taking it back
-- twice, has the effect of once, which a number could not promise. It grows no longer than the limit
-- and those under way. ends_at moves only when a window begins, so that all other updates are HOT.
CREATE TABLE login_attempt (
    key      bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    attempts uuid[] NOT NULL,
    ends_at  timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX login_attempt_ends_at ON login_attempt (ends_at);
