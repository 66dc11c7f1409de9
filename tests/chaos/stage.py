"""A cluster under load, whose release and configuration the test may spoil."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.drops import Load, Target
from tests.cluster import ROOT, Cluster

RATE = 200  # requests/s
PATIENCE = 60.0  # seconds: on a machine that is too slow for the rate, late is not lost

RELEASE = '''
"""A release that serves: any WSGI application would do."""
import os, time

def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/sleep":
        time.sleep(float(query))
    elif path == "/exit":
        os._exit(int(query))
    body = f"VERSION {os.getpid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
'''


def release(version: str) -> str:
    """The code of a good release."""
    return RELEASE.replace("VERSION", version)


CONFIG = (ROOT / "gunicorn.conf.py").read_text()


@dataclass(frozen=True)
class Kind:
    """What the cluster is like; the same must hold for all."""

    socket: str  # tcp or unix
    worker_class: str

    def __str__(self) -> str:
        return f"{self.socket}-{self.worker_class}"


KINDS = [Kind(s, w) for s in ("tcp", "unix") for w in ("adaptive", "sync")]
KINDS.append(Kind("tcp", "gthread"))


class Stage:
    """One running cluster of three workers, and the files that it was started from."""

    def __init__(self, directory: Path, kind: Kind, **env: str):
        self.directory = directory
        self.release = directory / "release"
        self.release.mkdir()
        self.config = directory / "gunicorn.conf.py"
        self.config.write_text(CONFIG)
        self.write(release("one"))
        self.socket = directory / "s" if kind.socket == "unix" else None
        file = directory / "app.env"
        self.cluster = Cluster(
            directory / "c",
            *("--chdir", str(self.release), "served:app"),
            env={"ENV_FILE": str(file), "PORT": "", **env},
            config=self.config,
        )
        self._file = file
        self.variables = {
            "BIND": f"unix:{self.socket}" if self.socket else f"127.0.0.1:{self.cluster.port}",
            "WORKER_CLASS": kind.worker_class,
            "THREADS": "1" if kind.worker_class == "sync" else "4",
        }
        self.set()

    @property
    def target(self) -> Target:
        if self.socket:
            return Target.parse(f"unix:{self.socket}", "/")
        return Target.parse(f"http://127.0.0.1:{self.cluster.port}/")

    def write(self, code: str) -> None:
        """Puts another release in the place of the one that runs."""
        (self.release / "served.py").write_text(code)

    def set(self, **variables: str) -> None:
        """Writes the variables, and these, where the next reload reads them."""
        values = self.variables | variables
        self._file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    @contextmanager
    def under_load(self) -> Iterator[Load]:
        """The cluster ready, and requests arriving at a fixed rate until the block's end."""
        with self.cluster, Load(self.target, rate=RATE, timeout=PATIENCE) as load:
            load.wait(0.3)
            yield load
            load.wait(0.5)

    def ledger(self) -> list[dict[str, object]]:
        """What `history` knows."""
        done = self.cluster.command("history", "--json", "-n", "100")
        found: list[dict[str, object]] = json.loads(done.stdout)
        return found
