"""Debian's redis-server, as a test's own."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import free_port
from tests.wait import wait_until


class RedisServer:
    """A server on a port of its own that keeps nothing on disk; `start` and `stop` at will."""

    def __init__(self, directory: Path):
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is missing: apt-get install redis-server"
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._log = directory / "redis.log"
        self._command = [
            program,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers; what was stored before is not there any more."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._answers, what=f"Redis to answer at port {self.port}")

    def stop(self) -> None:
        """Ends it, if it runs, and frees its port."""
        self._end(kill=False)

    def kill(self) -> None:
        self._end(kill=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, connections are accepted by the kernel, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """What redis-cli prints of one command; raises CalledProcessError without an answer."""
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), "--no-auth-warning", *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()

    def _answers(self) -> bool:
        process = self._process
        assert process is not None
        assert process.poll() is None, f"redis-server ended:\n{self._log.read_text()}"
        try:
            return self.ask("PING") == "PONG"
        except subprocess.CalledProcessError:
            return False

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait(30)
