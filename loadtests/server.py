"""The application under test, served by the kit, and its database, while a `with` block runs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, sql

ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 90.0  # a machine that is busy with other things
_STOP_SECONDS = 30.0
_COMMAND_SECONDS = 30.0


class StartError(RuntimeError):
    """Something that the load test needs did not start; the message is one line."""


def environment(**more: str) -> dict[str, str]:
    """What a process of the load test gets: nothing of what configures the kit elsewhere."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return inherited | {"ENV_FILE": os.devnull} | more  # no .env either


@contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """An empty embedded Postgres; yields its URL. Raises StartError."""
    log = directory / "postgres.log"
    command = [sys.executable, "-m", "deploy.ops.embedded_postgres"]
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--data", str(directory / "postgres"), "--hold"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is ours to pass on, in order
        )
    assert process.stdin is not None  # noqa: S101 - narrows the type
    assert process.stdout is not None  # noqa: S101
    try:
        said, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        url = process.stdout.readline().decode().strip() if said else ""
        if not url:
            raise StartError(f"Postgres did not start: {_last_line(log)}")
        yield url
    finally:
        process.stdin.close()  # which tells it to stop
        _end(process)
        process.stdout.close()


def create_database(url: str, name: str) -> tuple[str, str]:
    """A new database on that server: its URL, and the server's version."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        version = connection.info.parameter_status("server_version") or "?"
    return conninfo.make_conninfo(url, dbname=name), version


class Server:
    """The application in one mode, on a free port of this machine."""

    def __init__(self, *, mode: str, workers: int, directory: Path, database_url: str):
        self.mode = mode
        self.workers = workers
        self._directory = directory
        self._log = directory / "log"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environ = environment(
            APP_ENV="development",  # in production the cookie asks for TLS
            CLUSTER_MODE=mode,
            CLUSTER_WORKERS=str(workers),
            BIND=f"127.0.0.1:{port}",
            LOG_LEVEL="warning",
            DATABASE_URL=database_url,
            DEVELOPMENT_CONSUMERS="off",  # what is measured is the web
            RUNTIME_DIRECTORY=str(directory / "run"),
            STATE_DIRECTORY=str(directory / "state"),
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts it, waits until every worker is ready, and stops it; raises StartError."""
        self._directory.mkdir()
        gunicorn = str(Path(sys.executable).with_name("gunicorn"))
        with self._log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [gunicorn, "-c", "gunicorn.conf.py"],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_ready(process)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            _end(process)

    def status(self, interval: float = 0) -> dict[str, Any] | None:
        """What the operator's command says, rates measured over `interval` seconds, or None."""
        command = [sys.executable, "-m", "deploy", "status", "--json", "--interval", str(interval)]
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                command,
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=_COMMAND_SECONDS + interval,
                check=False,
            )
            facts = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        return facts if isinstance(facts, dict) else None

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            facts: Mapping[str, Any] = self.status() or {}
            if facts.get("state") == "ready" and _answers(f"{self.url}/health/ready"):
                return
            if process.poll() is not None:
                raise StartError(f"the server in {self.mode} mode ended: {_last_line(self._log)}")
            if time.monotonic() > deadline:
                why = facts.get("detail") or _last_line(self._log)
                raise StartError(
                    f"the server in {self.mode} mode is not ready after {_START_SECONDS:g} s: {why}"
                )
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process that was told to end, and ends what is left of its session."""
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
            return True
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return lines[-1][:300] if lines else "it said nothing"
