"""What `monit` shows: the facts of `status` again and again, with a past, and a latency of its own.

It reads shared memory and /proc. The only request it makes is the one that it times.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from deploy.ops import status_facts
from deploy.ops.cluster import NotRunningError, RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.endpoint import Endpoint
from deploy.ops.status_facts import Status
from deploy.state import ledger

TIMED_PATH = "/health"
EVENTS_KEPT = 200
_PAST = 240  # looks that are kept for the curves
_TIMED_EVERY, _TIMED_FOR = 1.0, 60.0  # seconds
_ANSWER_SECONDS = 5.0
_ONCE = 5  # requests that one frame is worth


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long our own requests took in the last minute."""

    samples: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    failed: int = 0
    error: str = ""  # of the last one, when it failed


@dataclass(frozen=True, kw_only=True)
class Frame:
    """All that is on the screen."""

    status: Status
    latency: Latency = Latency()
    requests_per_s: float | None = None  # of all workers
    cpu_percent: float | None = None  # of one CPU, of all workers
    requests_past: Sequence[float] = ()  # the oldest first
    cpu_past: Sequence[float] = ()
    events: Sequence[Mapping[str, Any]] = ()  # of the ledger, the newest last

    @property
    def address(self) -> str:
        """Where the cluster listens; empty while it does not run."""
        master = self.status.master
        return master.address if master and self.status.state != "stopped" else ""

    @property
    def busy(self) -> int:
        """Requests in flight."""
        return sum(worker.busy for worker in self.status.workers)


class Stopwatch:
    """Times our own requests; one thread times, any may ask."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, float | None]] = deque(
            maxlen=round(_TIMED_FOR / _TIMED_EVERY)
        )
        self._error = ""

    def time(self, address: str) -> None:
        """Makes one request; whatever is answered counts, also a 404."""
        try:
            answer = Endpoint.of(address).ask("GET", TIMED_PATH, timeout=_ANSWER_SECONDS)
        except (OSError, ValueError) as error:
            self._error = str(error) or type(error).__name__
            self._taken.append((time.monotonic(), None))
        else:
            self._error = ""
            self._taken.append((time.monotonic(), answer.seconds * 1000))

    def latency(self) -> Latency:
        """Of the last minute."""
        since = time.monotonic() - _TIMED_FOR
        return latency([taken for at, taken in self._taken.copy() if at >= since], self._error)


def latency(taken: Iterable[float | None], error: str = "") -> Latency:
    """The percentiles of these milliseconds, None being a failure; pure."""
    every = list(taken)
    answered = sorted(one for one in every if one is not None)
    return Latency(
        samples=len(answered),
        p50_ms=_percentile(answered, 0.5),
        p95_ms=_percentile(answered, 0.95),
        failed=len(every) - len(answered),
        error=error,
    )


class Sampler:
    """Looks at the cluster; each look is measured against the one before."""

    def __init__(self, directories: Directories, stopwatch: Stopwatch):
        self._directories = directories
        self._stopwatch = stopwatch
        self._cluster: RunningCluster | None = None
        self._before: status_facts.Look | None = None
        self._requests: deque[float] = deque(maxlen=_PAST)
        self._cpu: deque[float] = deque(maxlen=_PAST)
        self._events: Sequence[Mapping[str, Any]] = ()
        self._ledger: tuple[int, int] | None = None  # the inode and the size of what was read

    def look(self) -> Frame:
        """The cluster now; the first look at a master has averages since its workers' start."""
        first = self._before is None
        status = self._status()
        requests = _sum(worker.requests_per_s for worker in status.workers)
        cpu = _sum(worker.cpu_percent for worker in status.workers)
        if not first:
            self._requests.append(requests or 0.0)
            self._cpu.append(cpu or 0.0)
        return Frame(
            status=status,
            latency=self._stopwatch.latency(),
            requests_per_s=requests,
            cpu_percent=cpu,
            requests_past=tuple(self._requests),
            cpu_past=tuple(self._cpu),
            events=self._read_events(),
        )

    def _status(self) -> Status:
        if self._cluster is None or not self._cluster.alive:
            self._cluster = self._before = None
            try:
                self._cluster = RunningCluster(self._directories.runtime)
            except NotRunningError as error:
                return status_facts.stopped(error)
        board = self._cluster.board
        before = self._before or status_facts.look(board)
        status = status_facts.compare(board, self._directories, before)
        self._before = status_facts.look(board, before)
        return status

    def _read_events(self) -> Sequence[Mapping[str, Any]]:
        """Read anew when there is something new: the file may hold megabytes."""
        path = self._directories.state / ledger.FILE
        try:
            there = path.stat()
            if self._ledger != (there.st_ino, there.st_size):
                self._events = ledger.read(self._directories.state, limit=EVENTS_KEPT)
                self._ledger = there.st_ino, there.st_size
        except OSError:
            self._ledger = None
        return self._events


class Watcher:
    """Looks and times in threads of its own, so that what shows the frames never waits."""

    def __init__(self, directories: Directories, interval: float, tell: Callable[[], None]):
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._stopwatch = Stopwatch()
        self._sampler = Sampler(directories, self._stopwatch)
        self._interval = interval
        self._tell = tell
        self._end = threading.Event()
        # Daemons: a request that waits for its answer does not keep us here.
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._look, self._time)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()

    def last(self) -> Frame | None:
        """The last frame, None before the first; raises what has kept us from looking on."""
        if self._error:
            raise self._error
        return self._frame

    def _look(self) -> None:
        try:
            while True:
                self._frame = self._sampler.look()
                self._tell()
                if self._end.wait(self._interval):
                    return
        except Exception as error:
            self._error = error  # raised where it is seen
            self._tell()

    def _time(self) -> None:
        while not self._end.wait(_TIMED_EVERY):
            if self._frame and (address := self._frame.address):
                self._stopwatch.time(address)


def once(directories: Directories, interval: float) -> Frame:
    """One frame, measured over the interval; some requests are timed before."""
    stopwatch = Stopwatch()
    sampler = Sampler(directories, stopwatch)
    address = sampler.look().address
    for _ in range(_ONCE if address else 0):
        stopwatch.time(address)
    sampler.look()
    time.sleep(interval)
    return sampler.look()


def to_json(frame: Frame) -> str:
    """The facts of `status --json`, and the latency."""
    latency = {
        "path": TIMED_PATH,
        "samples": frame.latency.samples,
        "p50_ms": _rounded(frame.latency.p50_ms),
        "p95_ms": _rounded(frame.latency.p95_ms),
        "failed": frame.latency.failed,
        "error": frame.latency.error or None,
    }
    return json.dumps(
        {**json.loads(status_facts.to_json(frame.status)), "latency": latency}, indent=2
    )


def _percentile(ascending: Sequence[float], share: float) -> float | None:
    """The nearest rank."""
    return ascending[math.ceil(share * len(ascending)) - 1] if ascending else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
