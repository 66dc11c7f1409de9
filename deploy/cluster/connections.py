"""Warns when the workers' connection pools could ask more of Postgres than it grants.

A process of its own (`python -m deploy.cluster.connections WORKERS`), because the master neither
waits for a database nor keeps a driver in its memory. A database that is away is none of its
business: the application's readiness says that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy.cluster.capacity import connections_warning

_ALLOWED = """
SELECT sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END)
FROM pg_settings
WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
"""
_KIT = Path(__file__).resolve().parents[2]


def start_check(workers: int) -> subprocess.Popen[str] | None:
    """Starts the check for this many workers; its output is the warning, or nothing."""
    if not os.environ.get("DATABASE_URL"):
        return None
    path = os.pathsep.join(filter(None, [str(_KIT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "deploy.cluster.connections", str(workers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def main() -> None:
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3) as connection:
        row = connection.execute(_ALLOWED).fetchone()
    allowed = int(row[0]) if row else 0
    warning = connections_warning(int(sys.argv[1]), int(os.environ["DATABASE_POOL_MAX"]), allowed)
    if warning:
        print(warning)


if __name__ == "__main__":
    main()
