"""The requests that the service has answered, as its access lines in the journal say."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime

from deploy.ops.bake import Traffic

_HEALTH = ("/health", "/api/health")  # asked by us, and by whoever balances the load
_MARK = '"event": "request"'


def parse(line: str) -> tuple[float, int, float] | None:
    """Unix time, status and milliseconds of a visitor's request; None for any other line. Pure."""
    if _MARK not in line:
        return None
    try:
        said = json.loads(line)
        path, status = str(said["path"]), int(said["status"])
        at = datetime.fromisoformat(str(said["timestamp"])).timestamp()
        took = float(said["duration_ms"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if any(path == each or path.startswith(f"{each}/") for each in _HEALTH):
        return None
    return at, status, took


class AccessLines:
    """Follows a unit's lines from a moment of the past on, in a thread of its own."""

    def __init__(self, unit: str, since: float):
        self._lock = threading.Lock()
        self._requests: list[tuple[float, int, float]] = []
        self._process = subprocess.Popen(  # noqa: S603 - fixed words
            [
                *("journalctl", "--quiet", "--output=cat", "--no-tail", "--follow"),
                *(f"--unit={unit}", f"--since=@{int(since)}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is not for it
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def between(self, begin: float, end: float) -> Traffic:
        """The requests that ended in that span of Unix time, as far as they are known."""
        with self._lock:
            return Traffic.of((s, ms) for at, s, ms in self._requests if begin <= at < end)

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._reader.join(5)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            request = parse(line)
            if request is not None:
                with self._lock:
                    self._requests.append(request)


@contextlib.contextmanager
def following(unit: str, since: float) -> Iterator[AccessLines | None]:
    """None where systemd does not manage the service, or there is no journalctl."""
    if not unit:
        yield None
        return
    try:
        lines = AccessLines(unit, since)
    except OSError:
        yield None
        return
    try:
        yield lines
    finally:
        lines.close()
