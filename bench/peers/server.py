"""A peer that serves: where, and as which processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.cluster import ROOT
from tests.wait import wait_until

APP = "bench.apps.peers:app"
START_SECONDS = 60  # until the first answer, on a busy machine
_STOP_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Stand:
    """What a peer is given to serve with."""

    directory: Path  # its own, for its log and whatever it writes
    environment: Path  # as bench.peers.environment built it
    database_url: str
    processes: int

    @property
    def python(self) -> str:
        return str(self.environment / "bin" / "python")

    @property
    def log(self) -> Path:
        return self.directory / "log"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that answers on 127.0.0.1, until its `with` block ends."""

    port: int
    processes: Callable[[], list[psutil.Process]]  # all that work for it, Postgres' apart


def environment(**more: str) -> dict[str, str]:
    """What a server gets: nothing of what configures servers elsewhere, and our own code."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return inherited | {"PYTHONPATH": str(ROOT)} | more


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    master = psutil.Process(pid)
    return [master, *master.children(recursive=True)]


def answers(port: int) -> bool:
    """Whether a request is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/json")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def serving(stand: Stand, port: int, command: Sequence[str]) -> Iterator[Server]:
    """Runs a server's command, with a session of its own, until the `with` block ends."""
    with stand.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=stand.directory,
            env=environment(DATABASE_URL=stand.database_url),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def ready() -> bool:
        if process.poll() is not None:
            said = stand.log.read_text(errors="replace")
            raise AssertionError(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
        return answers(port)

    try:
        wait_until(ready, what=f"an answer of {' '.join(command)}", seconds=START_SECONDS)
        yield Server(port=port, processes=lambda: tree(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        finally:
            # Whatever it has left of its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
