"""Warns when the workers' connection pools could ask more of Postgres than it grants.

A process of its own (`python -m deploy.cluster.connections WORKERS`), because the master neither
waits for a database nor keeps a driver in its memory. A database that is away is none of its
business: the application's readiness says that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from deploy.cluster.capacity import connections_warning
from deploy.cluster.module_process import start_module

_ALLOWED = """
SELECT sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END)
FROM pg_settings
WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
"""
_SECONDS = 10


def start_check(workers: int) -> subprocess.Popen[str] | None:
    """Starts the check for this many workers; its output is the warning, or nothing."""
    if not os.environ.get("DATABASE_URL"):
        return None
    return start_module(
        "deploy.cluster.connections",
        str(workers),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> None:
    import psycopg

    signal.alarm(_SECONDS)  # the database may accept and never answer: ends this process
    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3) as connection:
        row = connection.execute(_ALLOWED).fetchone()
    allowed = int(row[0]) if row else 0
    warning = connections_warning(int(sys.argv[1]), int(os.environ["DATABASE_POOL_MAX"]), allowed)
    if warning:
        print(warning)


if __name__ == "__main__":
    main()
