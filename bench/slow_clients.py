"""What clients that never finish their requests cost the others: with 1,000 of them, and without.

An open model, so a stall is seen: requests begin at a fixed rate, whatever became of the others.
One worker, which so comes to its limit of 1,000 connections, with the kit's worker class; the two
kinds take turns. Stock gthread reads a head on one of its threads until it is whole: what becomes
of its other clients is told for information.
"""

from __future__ import annotations

import contextlib
import math
import resource
import selectors
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import fairness
from bench.objective import Objective
from loadtests.load import Load
from loadtests.report import Report, percentile

ROUNDS, SECONDS, RATE = 3, 10, 100
SLOW = 1_000
_HALF = b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: sl"
_SETTLE_SECONDS = 2
_STOP_SECONDS = 30.0  # for the one who opens them again to see that it is over
_PER_SECOND = 250  # connections opened, so that opening them disturbs nobody
_AGAIN_MOST = 4 * SLOW  # opened again after the server has closed them
_STOCK_SECONDS, _STOCK_TIMEOUT = 3, 5.0
_FILES = 2 * SLOW + 1_000  # both ends of them, and the others


class HalfRequests:
    """Connections that have sent half a head each, while the `with` block runs.

    One that the server closes is opened again, within bounds; `closed` counts them.
    """

    def __init__(self, port: int, number: int):
        self.closed = 0
        self._port = port
        self._number = number
        self._open: set[socket.socket] = set()
        self._ends = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._replace, name="half requests")

    def __enter__(self) -> Self:
        try:
            for _ in range(self._number):
                self._connect()
                time.sleep(1 / _PER_SECOND)
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)
        self._close()

    def _connect(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self._port), 10)
        self._open.add(sock)
        with contextlib.suppress(OSError):  # closed at once: seen when it is polled
            sock.sendall(_HALF)
        self._ends.register(sock, selectors.EVENT_READ)

    def _replace(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._ends.select(0.1):
                ended = key.fileobj
                assert isinstance(ended, socket.socket)
                self._ends.unregister(ended)
                self._open.discard(ended)
                ended.close()
                self.closed += 1
                if self.closed <= _AGAIN_MOST:
                    with contextlib.suppress(OSError):
                        self._connect()
                self._stopping.wait(1 / _PER_SECOND)

    def _close(self) -> None:
        self._ends.close()
        for sock in self._open:
            sock.close()


def run() -> list[Objective]:
    """The ratio, what it is made of, and what stock Gunicorn lost."""
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        directory = Path(name)
        port = stack.enter_context(fairness.kit(directory, 1))
        fairness.warm(port, 1)
        rounds: list[tuple[Report, Report]] = []
        closed = 0
        for _ in range(ROUNDS):
            load(port, seconds=_SETTLE_SECONDS)  # the former round's connections close meanwhile
            without = load(port)
            with HalfRequests(port, SLOW) as slow:
                rounds.append((without, load(port)))
            closed += slow.closed
        plain = lost_by_stock(directory)
    return [*objectives(rounds, closed=closed), plain]


def objectives(rounds: Sequence[tuple[Report, Report]], *, closed: int) -> list[Objective]:
    """What the half requests cost in latency, and whether in answers too."""
    p99 = [(_p99(without), _p99(beside)) for without, beside in rounds]
    alone, beside = (statistics.median(side) * 1000 for side in zip(*p99, strict=True))
    sent = sum(report.sent for _, report in rounds)
    return [
        Objective(
            name=f"p99 with {SLOW:,} half requests / without, median of {len(rounds)}",
            value=statistics.median(slowed / usual for usual, slowed in p99),
            unit="×",
            at_most=2.0,
        ),
        Objective(
            name=f"failed of {sum(report.sent for report, _ in rounds)} without",
            value=sum(report.failed for report, _ in rounds),
            unit="",
            at_most=0,
        ),
        Objective(
            name=f"failed of {sent} with them, {closed} closed and opened again",
            value=sum(report.failed for _, report in rounds),
            unit="",
            at_most=0,
        ),
        Objective(name="  p99 without", value=alone, unit="ms"),
        Objective(name="  p99 with them", value=beside, unit="ms"),
    ]


def _p99(report: Report) -> float:
    """Seconds; one that failed has never been answered."""
    times = (math.inf if each.fault else each.latency for each in report.outcomes)
    return percentile(sorted(times), 99)


def load(port: int, *, seconds: float = SECONDS, timeout: float = 15) -> Report:
    """What became of tiny requests at the fixed rate, on new and on kept connections in turn."""
    with Load(f"http://127.0.0.1:{port}/", rate=RATE, duration=seconds, timeout=timeout) as sent:
        sent.wait()
    return sent.report


def lost_by_stock(directory: Path) -> Objective:
    """The share of requests that stock gthread does not answer beside as many half requests."""
    with fairness.stock(directory, 1) as port:
        fairness.warm(port, 1)
        with HalfRequests(port, SLOW):
            report = load(port, seconds=_STOCK_SECONDS, timeout=_STOCK_TIMEOUT)
    return Objective(
        name=f"  failed of {report.sent} at stock gthread with as many",
        value=report.failed / report.sent * 100,
        unit="%",
    )


def raise_file_limit() -> None:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
