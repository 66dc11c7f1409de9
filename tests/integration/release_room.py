"""A running service with releases to bring out, as `smart-factory release` finds it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import Cluster
from tests.integration.installed_releases import APP, InstalledReleases, environment
from tests.wait import wait_until

# As APP; ill as soon as there is a file of that name.
SICKLY = """
import os
from pathlib import Path

def app(environ, start_response):
    ill = Path(os.environ["STATE_DIRECTORY"], "ill").exists()
    start_response("500 Oh" if ill else "200 OK", [("X-Worker-ID", os.environ["WORKER_ID"])])
    return [b"ill" if ill else b"well"]
"""
# As APP, but it does not pass the readiness probe.
UNREADY = """
import os

def app(environ, start_response):
    ready = environ["PATH_INFO"] != "/health/ready"
    start_response("200 OK" if ready else "503 No", [("X-Worker-ID", os.environ["WORKER_ID"])])
    return [b"here"]
"""
# Its workers do not stay.
DYING = """
import os
from pathlib import Path

def app(environ, start_response):
    if environ["PATH_INFO"] == "/health":
        os._exit(7)
    start_response("200 OK", [("X-Worker-ID", os.environ["WORKER_ID"])])
    return [b"here"]
"""


def name(number: int) -> str:
    """Of a release."""
    return f"20261124-00000{number}-{number:07x}"


class Room:
    """An installation, and the cluster that is started through `current`."""

    def __init__(self, directory: Path, env: Mapping[str, str] | None = None):
        self.installed = InstalledReleases(directory / "root")
        self.releases = self.installed.root / "releases"
        self._directory = directory
        self._env = {"WSGI_APP": "served:app", "CLUSTER_WORKERS": "2", **(env or {})}
        self.cluster = self._cluster()

    def make(self, number: int, app: str = APP) -> Path:
        """A release that is there, and has never served."""
        release = self.installed.make(name(number), app)
        (release / "RELEASE").write_text(f"{release.name}\n")
        return release

    @contextmanager
    def serving(self, number: int = 1) -> Iterator[Cluster]:
        """The service, with the release live."""
        self.installed.link("current", self.make(number))
        with self.cluster as cluster:
            yield cluster

    def release(
        self, *words: object, command: str = "release", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `smart-factory release …` to its end."""
        return subprocess.run(
            self._words(command, words),
            env={**self.environment, **(env or {})},
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def rollback(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `smart-factory rollback release …` to its end."""
        return self.release("release", *words, command="rollback")

    @contextmanager
    def releasing(self, *words: object) -> Iterator[subprocess.Popen[str]]:
        """`smart-factory release …`, going on."""
        with subprocess.Popen(
            self._words("release", words),
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            cwd=self._directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @property
    def environment(self) -> dict[str, str]:
        """An operator's."""
        own = {"SMART_FACTORY_ROOT": str(self.installed.root), **self._env}
        return environment(self.cluster, APP_ENV="test", **own)

    @property
    def live(self) -> tuple[str, str]:
        """Where `current` and `previous` lead; empty where there is no such link."""
        links = (self.installed.root / each for each in ("current", "previous"))
        current, previous = (link.readlink().name if link.is_symlink() else "" for link in links)
        return current, previous

    def marks(self, release: str) -> set[str]:
        """What became of the release."""
        there = {path.name for path in (self.releases / release).iterdir()}
        return there & {"BUILDING", "FAILED", "LIVED"}

    def failure(self, release: str) -> str:
        return (self.releases / release / "FAILED").read_text()

    def ids(self) -> list[str]:
        return sorted(path.name for path in self.releases.iterdir())

    def history(self, event: str) -> Any:
        """The ledger's lines of the event, the newest last."""
        done = self.release("--json", "--event", event, command="history")
        return json.loads(done.stdout)

    def served(self) -> str:
        """Which release answers."""
        return self.cluster.get("/").body.decode()

    def _cluster(self) -> Cluster:
        current = self.installed.root / "current"
        return Cluster(
            self._directory / "c",
            # As WorkingDirectory= in the unit.
            program=["env", f"--chdir={current}", str(current / ".venv/bin/gunicorn")],
            config=current / "gunicorn.conf.py",
            env={"SMART_FACTORY_ROOT": str(self.installed.root), **self._env},
        )

    def _words(self, command: str, words: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "deploy", command, *map(str, words)]


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process prints, up to the line with that text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended before it said {text!r}:\n{''.join(lines)}")


def wait_for_another(cluster: Cluster, slot: int, pid: int) -> int:
    """The pid of the worker that has taken the dead one's place."""

    def found() -> int | None:
        now = cluster.pids().get(f"worker-{slot}")
        return now if now != pid else None

    return wait_until(found, what=f"another worker in slot {slot}") or 0
