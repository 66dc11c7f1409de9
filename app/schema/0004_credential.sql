-- content is the canonical JSON (RFC 8785) whose SHA-256 is content_hash: text, since jsonb would
-- write numbers and members in an order and a spelling of its own.
CREATE TABLE credential (
    id           uuid PRIMARY KEY,
    content_hash bytea NOT NULL UNIQUE CHECK (octet_length(content_hash) = 32),
    content      text NOT NULL,
    issued_by    text NOT NULL,
    issued_at    timestamptz NOT NULL DEFAULT now()
);
