"""Fixed arrivals: requests begin when they are due, whatever became of the earlier ones."""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, Self

from loadtests.connection import Connection, Pool, connect
from loadtests.outcome import Answer, Failure, Fault, Kind, Outcome
from loadtests.report import Report
from loadtests.target import Target

Connections = Literal["fresh", "keepalive", "both"]
_KINDS: dict[Connections, tuple[Kind, ...]] = {
    "fresh": (Kind.FRESH,),
    "keepalive": (Kind.KEEPALIVE,),
    "both": (Kind.FRESH, Kind.KEEPALIVE),
}
_SPARE = 8  # idle connections wanted: more than a small cluster has workers
_FILES = 16384  # open at once


@dataclass(eq=False, slots=True)
class _Request:
    """One in flight."""

    due: float  # by the loop's clock, as `late` is to it
    kind: Kind
    timer: asyncio.TimerHandle | None = None
    late: float = 0.0
    reused: bool = False
    connection: Connection | None = None
    opening: asyncio.Task[None] | None = None


class Load:
    """Sends requests at a fixed rate, in a thread of its own, while the `with` block runs.

    Request k is due k/rate seconds after the start and begins then; none waits for another and
    none is repeated. At the block's end (or after `duration`) no more begin, and those in flight
    end within `timeout`. What became of them is in `report`.
    """

    def __init__(
        self,
        target: Target | str,
        *,
        rate: float = 200,  # requests per second
        connections: Connections = "both",  # both: in turn
        duration: float | None = None,  # seconds; None: until the block ends
        timeout: float = 15,  # seconds from a request's beginning to its complete answer
        idle_limit: float = 1.5,  # seconds; below the server's, which then never closes first
        method: str = "GET",
        headers: Sequence[str] = (),  # each `Name: value`
    ):
        """Raises TargetError for a target or header that cannot be used, else ValueError."""
        for value in (rate, timeout, idle_limit, duration):
            if value is not None and not 0 < value < math.inf:
                why = f"{value}: rates and times must be finite and greater than 0"
                raise ValueError(why)
        self.target = Target.parse(target) if isinstance(target, str) else target
        self._rate = rate
        self._kinds = _KINDS[connections]
        self._limit = None if duration is None else max(1, round(rate * duration))  # requests
        self._timeout = timeout
        self._bytes = {kind: self.target.request(method, kind, headers) for kind in Kind}
        # Each spare connection has its turn twice within the limit, or it would be no use.
        turns = rate / len(self._kinds) * idle_limit / 2
        self._pool = Pool(spare=max(1, min(_SPARE, int(turns))), idle_limit=idle_limit)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._quiet: asyncio.Event
        self._running = threading.Event()
        # Waited for in place of join(), which takes the thread for ended after a Ctrl-C.
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)
        self._error: BaseException | None = None
        self._start = 0.0
        self._seconds: float | None = None  # during which requests were due, once that is over
        self._begun = 0
        self._failed = 0
        self._in_flight: set[_Request] = set()
        self._outcomes: list[Outcome] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the run is over and its loop closed
            self._loop.call_soon_threadsafe(self._stop.set)
        self._over.wait()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until the run of a `duration` is over; False when `seconds` passed before that."""
        return self._over.wait(seconds)

    def elapsed(self) -> float:
        """Seconds since the first request was due: the clock of `Report.in_window`."""
        return time.monotonic() - self._start

    @property
    def report(self) -> Report:
        """What became of the requests: after the block of all, within it of those that ended."""
        ended = sorted(self._outcomes, key=lambda outcome: outcome.due)
        return Report(tuple(ended), self.elapsed() if self._seconds is None else self._seconds)

    @property
    def progress(self) -> tuple[int, int, int]:
        """How many requests have begun, are in flight, and have failed; cheaper than `report`."""
        return self._begun, len(self._in_flight), self._failed

    def _main(self) -> None:
        try:
            _raise_file_limit()
            asyncio.run(self._run())
        except BaseException as error:
            self._error = error  # raised where the block begins or ends
        finally:
            self._running.set()
            self._over.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._quiet = asyncio.Event(), asyncio.Event()
        self._start = self._loop.time()  # which is time.monotonic()
        self._arrive()
        self._running.set()
        await self._stop.wait()
        whole = self._begun / self._rate if self._begun == self._limit else 0.0
        self._seconds = max(whole, self._loop.time() - self._start)
        if self._in_flight:
            await self._quiet.wait()
        self._pool.close()
        await asyncio.sleep(0)  # lets the transports that were closed release their sockets

    def _arrive(self) -> None:
        """Begins every request that is due, and comes back when the next one is."""
        while not self._stop.is_set():
            due = self._start + self._begun / self._rate
            if due > self._loop.time():
                self._loop.call_at(due, self._arrive)
                return
            kind = self._kinds[self._begun % len(self._kinds)]
            self._begun += 1
            self._begin(due, kind)
            if self._begun == self._limit:
                self._stop.set()

    def _begin(self, due: float, kind: Kind) -> None:
        now = self._loop.time()
        request = _Request(due, kind)
        request.timer = self._loop.call_later(self._timeout, self._give_up, request)
        self._in_flight.add(request)
        connection = self._pool.take(now) if kind is Kind.KEEPALIVE else None
        if connection is None:
            request.opening = self._loop.create_task(self._open(request))
        else:
            request.late = now - due
            request.reused = True
            self._send(request, connection)

    async def _open(self, request: _Request) -> None:
        request.late = self._loop.time() - request.due
        try:
            connection = await connect(self.target)
        except OSError as error:
            self._end(request, Failure.of(error))
        else:
            self._send(request, connection)

    def _send(self, request: _Request, connection: Connection) -> None:
        request.connection = connection
        connection.send(self._bytes[request.kind], partial(self._end, request))

    def _give_up(self, request: _Request) -> None:
        doing = "connecting" if request.connection is None else "waiting for the answer"
        if request.connection is None and request.opening is not None:
            request.opening.cancel()
        self._end(request, Failure(Fault.TIMEOUT, doing))

    def _end(self, request: _Request, result: Answer | Failure) -> None:
        self._in_flight.discard(request)
        if request.timer is not None:
            request.timer.cancel()
        now = self._loop.time()
        answer = result if isinstance(result, Answer) else None
        if request.connection is not None:
            if answer is not None and answer.keep and request.kind is Kind.KEEPALIVE:
                self._pool.give(request.connection, now)
            else:
                request.connection.close()
        self._failed += result.fault is not None
        self._outcomes.append(
            Outcome(
                due=request.due - self._start,
                late=request.late,
                latency=now - request.due,
                kind=request.kind,
                reused=request.reused,
                status=answer.status if answer else None,
                fault=result.fault,
                detail=result.detail,
            )
        )
        if self._stop.is_set() and not self._in_flight:
            self._quiet.set()


def _raise_file_limit() -> None:
    """A stall of 15 s at 400/s holds 6000 connections open: as many as this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
