"""A real Gunicorn, started as an operator starts it, in a directory of the test's own."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.wait import wait_until

ROOT = Path(__file__).resolve().parents[1]
GUNICORN = Path(sys.executable).with_name("gunicorn")
# What a developer has set for a cluster of their own, and what make tells a make below it.
_NOT_INHERITED = {
    *("DATABASE_URL", "CLUSTER_WORKERS", "WORKER_COUNT", "CLUSTER_MODE", "BIND", "HOST"),
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MODE", "ENV_FILE", "LOG_LEVEL", "LOG_FORMAT"),
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "WATCHDOG_PATH"),
}
APPS = ROOT / "tests" / "integration" / "apps"
# Below those that the kernel gives away by itself (ip_local_port_range), as to each connection.
_PORTS, _PORTS_OF_A_PROCESS = range(10_000, 32_000), 200


def free_port() -> int:
    """A port that nobody listens at, and that no other test is given before it is used."""
    ports = _own_ports()
    for port in itertools.islice(ports, _PORTS_OF_A_PROCESS):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Gunicorn binds
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("somebody listens at every port of this process's")


@functools.cache
def _own_ports() -> Iterator[int]:
    """The ports of this process, one after the other; the name of a socket keeps others away."""
    for first in _PORTS[::_PORTS_OF_A_PROCESS]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as claim:
            claim.bind(f"\0smart-factory-tests-{first}")
            claim.detach()  # for as long as the process lives
            return itertools.cycle(range(first, first + _PORTS_OF_A_PROCESS))
    raise AssertionError("more processes run tests than there are ports for")


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cluster:
    """One master with its workers; `with` starts it and stops it."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        app: str | None = None,
        env: Mapping[str, str] | None = None,
        config: Path | None = None,
        program: Sequence[str] = (str(GUNICORN),),
        pass_fds: Sequence[int] = (),
    ):
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.directory = directory
        self._pass_fds = tuple(pass_fds)
        self.runtime = directory / "run"
        self.log_file = directory / "log"
        self._command = [*program, "-c", str(config or ROOT / "gunicorn.conf.py"), *arguments]
        if app is not None:
            self._command += ["--chdir", str(APPS), app]
        self._env = {
            name: value for name, value in os.environ.items() if name not in _NOT_INHERITED
        } | {
            "PORT": str(self.port),
            "RUNTIME_DIRECTORY": str(self.runtime),
            "STATE_DIRECTORY": str(directory / "state"),
            "CLUSTER_WORKERS": "3",
            "APP_ENV": "test",
            **(env or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self._pass_fds,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends the master with a signal, and whatever is left of its session; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.send(number)
        try:
            return self.process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def send(self, number: int) -> None:
        """Sends a signal to what was started."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait_exit(self, seconds: float = 60) -> int:
        """The exit code of a master that ends by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def wait_ready(self) -> None:
        self.wait_log("[Master] All workers ready")

    def wait_log(self, text: str, *, times: int = 1, seconds: float = 60) -> None:
        """Waits until `text` stands in the log so many times."""

        def found() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the master ended ({self.process.returncode}):\n{self.log}")
            return self.log.count(text) >= times

        try:
            wait_until(found, what=f"{text!r} × {times} in the log", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    @property
    def log(self) -> str:
        # What is being written may end within a character.
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        """The master's pid, as the pid file says it."""
        return int((self.runtime / "gunicorn.pid").read_text())

    @property
    def processes(self) -> list[psutil.Process]:
        """Every process below the master: molds, workers, canaries."""
        return psutil.Process(self.pid).children(recursive=True)

    def titled(self, title: str) -> list[int]:
        """The pids below the master whose title begins so: `mold gen 2`."""
        found = []
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(f"gunicorn: {title}"):
                    found.append(process.pid)
        return found

    def reload(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m deploy reload`, which waits for the outcome."""
        return self.command("reload", *words)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        """One request on a connection of its own; a body goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = json.dumps(body)
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def status(self) -> Any:
        """What `python -m deploy status --json` prints."""
        done = self.command("status", "--json", "--interval", "0")
        return json.loads(done.stdout)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the operator's command on this cluster."""
        return subprocess.run(
            [sys.executable, "-m", "deploy", *words],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def slot(self, number: int) -> Any:
        """The line of one slot in `status`; of two workers in it, the one that does not drain."""
        slots = [slot for slot in self.status()["slots"] if slot["slot"] == number]
        return min(slots, key=lambda slot: slot["state"] == "draining")

    def pids(self) -> dict[str, int]:
        """Worker names with the pids of those that are ready."""
        found: dict[str, int] = {}
        for slot in self.status()["slots"]:
            if slot["state"] == "ready":
                # The newer comes first: a reload is complete before the last old one is told to go.
                found.setdefault(slot["worker"], slot["pid"])
        return found

    def lines(self, pattern: str) -> list[str]:
        """The log's lines in which the pattern is found."""
        return [line for line in self.log.splitlines() if re.search(pattern, line)]
