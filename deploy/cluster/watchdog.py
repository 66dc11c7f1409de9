"""systemd's watchdog, fed with answers: a service whose every request hangs is not fed.

Each success of a real request through the first listening socket is a `WATCHDOG=1`. Requests
overlap, as one that hangs may sit in the one worker of several that hangs. With an empty
WATCHDOG_PATH nothing is requested, and the master's own loop feeds: then the watchdog knows that
the master lives, and nothing of the workers. With TLS the certificate is not looked at.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.cluster.watchdog_request import WatchdogRequest

_OVERLAPPING = 3


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often a request begins, and how long one may take; seconds."""

    interval: float
    limit: float

    @classmethod
    def within(cls, microseconds: int) -> Rhythm:
        """For a watchdog that bites after so long: a second at least, but twice in its time."""
        seconds = microseconds / 1_000_000
        return cls(interval=min(max(1.0, seconds / 6), seconds / 2), limit=seconds / 3)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What to do now."""

    begin: bool  # another request
    overdue: int  # so many of the oldest are given up
    seconds: float  # until there is something to do again, unless an answer comes


def next_turn(rhythm: Rhythm, now: float, *, last: float, unanswered: Sequence[float]) -> Turn:
    """What is due. `last`: when a request began; `unanswered`: when these did, oldest first."""
    overdue = sum(now - began >= rhythm.limit for began in unanswered)
    out = list(unanswered[overdue:])
    begin = now - last >= rhythm.interval and len(out) < _OVERLAPPING
    if begin:
        last = now
        out.append(now)
    waits = [began + rhythm.limit - now for began in out]
    if len(out) < _OVERLAPPING:
        waits.append(last + rhythm.interval - now)
    return Turn(begin=begin, overdue=overdue, seconds=min(waits))


class Watchdog:
    """The requests that are out. `feed` tells systemd; `microseconds`: 0 for no watchdog."""

    def __init__(self, microseconds: int, *, feed: Callable[[], object], log: Any):
        self._rhythm = Rhythm.within(microseconds) if microseconds > 0 else None
        self._feed = feed
        self._log = log
        self._out: list[WatchdogRequest] = []
        self._closing: list[WatchdogRequest] = []  # answered; the other side closes first
        self._last = float("-inf")  # monotonic; the last request began
        self._passed = float("-inf")  # monotonic; the last good answer came
        self._failing = False
        self._tls: ssl.SSLContext | None = None
        self.seconds = float("inf")  # until a step is due, unless an answer comes

    @property
    def waiting(self) -> list[tuple[int, int]]:
        """Descriptors and events that call for a step."""
        return [each.waiting for each in (*self._out, *self._closing)]

    def step(self, now: float, *, address: Any, path: str, tls: bool) -> None:
        """Hears answers, gives up what takes too long and begins what is due.

        `address`: of a listener; None when there is none, and then the loop itself feeds.
        """
        if self._rhythm is None:
            return
        for request in (*self._out, *self._closing):
            request.step()
        self._hear(now)
        began = [each.began for each in self._out]
        turn = next_turn(self._rhythm, now, last=self._last, unanswered=began)
        self.seconds = turn.seconds
        for request in self._out[: turn.overdue]:
            request.give_up(f"no answer within {self._rhythm.limit:g} s")
        if turn.begin:
            self._last = now
            if path and address is not None:
                context = self._context() if tls else None
                self._out.append(WatchdogRequest(address, path, began=now, tls=context))
            else:
                self._feed()
        self._hear(now)
        for request in self._closing:
            if now - request.began >= self._rhythm.limit:
                request.close()
        self._closing = [each for each in self._closing if not each.over]

    def close(self) -> None:
        """No more of it."""
        for request in (*self._out, *self._closing):
            request.close()
        self._out, self._closing, self._rhythm = [], [], None
        self.seconds = float("inf")

    def _hear(self, now: float) -> None:
        for request in [each for each in self._out if each.passed or each.failure]:
            self._out.remove(request)
            self._closing.append(request)
            if request.passed:
                self._pass(now)
            elif self._passed < request.began:  # nor has any other been answered meanwhile
                self._fail(request.failure)

    def _pass(self, now: float) -> None:
        self._passed = now
        self._feed()
        if self._failing:
            self._failing = False
            self._log.info(
                "[Master] The watchdog's request passes again", extra={"event": "watchdog.passed"}
            )

    def _fail(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            facts = {"event": "watchdog.failed", "reason": why}
            self._log.error("[Master] The watchdog's request failed: %s", why, extra=facts)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls.check_hostname = False  # it is ourselves that we ask
            self._tls.verify_mode = ssl.CERT_NONE
        return self._tls
