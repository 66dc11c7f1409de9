"""Who answers: the worker, as whoever started it says in environment variables."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

_started = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One worker process; under a server that sets no variables, a worker of its own."""

    worker: str  # "worker-2", else "pid-4711"
    slot: int | None  # 1…N
    pid: int
    mode: str  # cluster, fork, else none
    workers: int  # how many there are to be
    release: str

    @classmethod
    def current(cls) -> Identity:
        """Read anew at each call: the variables are set after the fork."""
        return cls(
            worker=worker_id(),
            slot=_integer("WORKER_SLOT"),
            pid=os.getpid(),
            mode=os.environ.get("CLUSTER_MODE") or "none",
            workers=_integer("CLUSTER_WORKERS") or 1,
            release=os.environ.get("RELEASE") or "unknown",
        )


def worker_id() -> str:
    """The worker's name alone, for the header of every answer."""
    return os.environ.get("WORKER_ID") or f"pid-{os.getpid()}"


def uptime() -> float:
    """Seconds since this process was forked, or was started when it was not forked."""
    return time.monotonic() - _started


def _integer(name: str) -> int | None:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return None


def _restart_clock() -> None:
    global _started
    _started = time.monotonic()


os.register_at_fork(after_in_child=_restart_clock)
