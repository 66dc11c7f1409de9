"""`python -m deploy.ops.checks.ask_database`: what Postgres says of itself, as one JSON object.

A process of its own: it asks as the user that the service runs as, which may be another, and a
server that accepts and never answers ends it alone. Nothing it says holds a password.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 5
_SECONDS = 12  # several hosts may each take their time
_ASKED = 3  # the quickest answer tells most of the clock

_FACTS = """
SELECT current_setting('server_version'),
    current_setting('max_connections')::int,
    (SELECT coalesce(sum(setting::int), 0) FROM pg_settings
        WHERE name IN ('superuser_reserved_connections', 'reserved_connections')),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool
"""
# Of other users' backends only little is shown: their kind and their name are NULL.
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname IS NOT NULL AND pid <> pg_backend_pid()
    AND coalesce(backend_type, 'client backend') = 'client backend'
    AND application_name IS DISTINCT FROM 'smart-factory'
"""
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


def main() -> None:
    """Prints the facts, or `error`; exits with 0 either way."""
    import psycopg

    signal.alarm(_SECONDS)
    try:
        facts = _asked(os.environ["DATABASE_URL"])
    except psycopg.ProgrammingError as error:
        # libpq quotes what it stumbles over, which may be the password; the server does not.
        said = _line(error) if error.sqlstate else "libpq cannot parse DATABASE_URL"
        facts = {"error": said}
    except psycopg.Error as error:
        facts = {"error": _line(error)}
    json.dump(facts, sys.stdout)


def _asked(url: str) -> dict[str, Any]:
    import psycopg

    began = time.monotonic()
    given = psycopg.conninfo.conninfo_to_dict(url)
    limits: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
    with psycopg.connect(url, autocommit=True, **limits) as connection:
        connected = time.monotonic()
        connection.execute("SET statement_timeout = '4s'")
        row = connection.execute(_FACTS).fetchone()
        others = connection.execute(_OTHERS).fetchone()
        clocks = [_clock(connection) for _ in range(_ASKED)]
    assert row is not None  # noqa: S101 - an aggregate has a row
    assert others is not None  # noqa: S101
    trip, skew = min(clocks)
    return {
        "version": row[0].split()[0],
        "max_connections": row[1],
        "reserved": int(row[2]),
        "read_only": row[3],
        "others": others[0],
        "connect_ms": round(1000 * (connected - began), 1),
        "query_ms": round(1000 * trip, 2),
        "skew_s": round(skew, 3),
        "skew_doubt_s": round(trip / 2, 3),
        "host": str(given.get("host") or given.get("hostaddr") or "the local socket"),
    }


def _clock(connection: psycopg.Connection[Any]) -> tuple[float, float]:
    """How long the answer took, and the server's clock less ours in the middle of it."""
    began, at = time.monotonic(), time.time()
    row = connection.execute(_CLOCK).fetchone()
    trip = time.monotonic() - began
    assert row is not None  # noqa: S101
    return trip, row[0] - (at + trip / 2)


def _line(error: psycopg.Error) -> str:
    """The message in one line, without the password, should a server repeat it."""
    import psycopg

    line = " ".join(str(error).split())[:300] or type(error).__name__
    try:
        given = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])
    except psycopg.Error:
        return "libpq cannot parse DATABASE_URL"
    passwords = (given.get("password"), os.environ.get("PGPASSWORD"))
    for password in filter(None, passwords):
        line = line.replace(str(password), "***")
    return line


if __name__ == "__main__":
    main()
