"""Express as a peer, under PM2 in cluster mode, with a PM2 of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from psycopg import conninfo

from bench.peers.environment import program
from bench.peers.server import START_SECONDS, Server, Stand, answers, environment
from tests.cluster import free_port
from tests.processes import runs
from tests.wait import wait_until

_APP = Path(__file__).parent / "express"
_COMMAND_SECONDS = 120


@contextmanager
def serving(stand: Stand) -> Iterator[Server]:
    """Runs a PM2 with the application until the `with` block ends."""
    port, home = free_port(), stand.directory / "pm2"
    environ = environment(
        PM2_HOME=str(home),
        NODE_ENV="production",
        NODE_PATH=str(stand.environment / "node_modules"),
        PORT=str(port),
        PROCESSES=str(stand.processes),
        SESSION_SECRET=os.urandom(16).hex(),
        **_libpq(stand.database_url),
    )
    try:
        _pm2(stand, environ, "start", str(_APP / "ecosystem.config.js"))
        wait_until(lambda: answers(port), what="an answer of Express", seconds=START_SECONDS)
        daemon = _daemon(home)
        # Not the daemon itself: it accepts connections, and watches beside; neither is much.
        yield Server(port=port, processes=lambda: daemon.children(recursive=True))
    finally:
        _stop(stand, environ, home)


def _stop(stand: Stand, environ: Mapping[str, str], home: Path) -> None:
    try:
        daemon = _daemon(home)
    except (OSError, psutil.NoSuchProcess):
        return  # it did not start, or has ended
    below = daemon.children(recursive=True)
    try:
        _pm2(stand, environ, "kill")
        wait_until(lambda: not runs(daemon), what="PM2 to end")
    finally:
        for process in (daemon, *below):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _daemon(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "pm2.pid").read_text()))


def _libpq(url: str) -> dict[str, str]:
    """The variables by which pg finds the server: its URLs know no directory of sockets."""
    parts = conninfo.conninfo_to_dict(url)
    return {
        variable: str(parts[name])
        for name, variable in {
            "host": "PGHOST",
            "port": "PGPORT",
            "user": "PGUSER",
            "dbname": "PGDATABASE",
        }.items()
        if name in parts
    }


def _pm2(stand: Stand, environ: Mapping[str, str], *words: str) -> None:
    pm2 = stand.environment / "node_modules" / "pm2" / "bin" / "pm2"
    with stand.log.open("ab") as log:
        subprocess.run(
            [program("node"), str(pm2), *words],
            cwd=stand.directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=_COMMAND_SECONDS,
            check=True,
        )
