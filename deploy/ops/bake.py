"""When a new release has turned out bad: from what was seen before it and since. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

_DURATION = re.compile(r"([0-9]{1,6})([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}

CRASHES = 2  # so many are no accident
_PROBES = 2  # failed in a row
_LEAST_ERRORS, _LEAST_SHARE = 5, 0.01
_LEAST_REQUESTS = 20  # for a percentile that means something
_SLACK = 100.0  # milliseconds


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Requests in a span of time."""

    requests: int = 0
    errors: int = 0  # answered with 5xx
    p95: float = 0.0  # milliseconds

    @property
    def share(self) -> float:
        """Of the errors among all."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def enough(self) -> bool:
        """Whether the percentile says something."""
        return self.requests >= _LEAST_REQUESTS

    @classmethod
    def of(cls, requests: Iterable[tuple[int, float]]) -> Traffic:
        """Of each the status and the milliseconds."""
        statuses, times = [], []
        for status, milliseconds in requests:
            statuses.append(status)
            times.append(milliseconds)
        if not times:
            return cls()
        times.sort()
        p95 = times[math.ceil(0.95 * len(times)) - 1]
        return cls(requests=len(times), errors=sum(s >= 500 for s in statuses), p95=p95)

    def __str__(self) -> str:
        if not self.requests:
            return "no requests"
        return f"{self.requests} requests, {self.share:.1%} of them 5xx, p95 {self.p95:.0f} ms"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the watch has seen so far."""

    crashes: int = 0  # of workers
    traffic: Traffic = Traffic()
    failed_probes: int = 0  # in a row, up to now
    failure: str = ""  # of the last probe


def verdict(before: Traffic, seen: Seen) -> str:
    """What is wrong, in one line; empty while nothing is."""
    now = seen.traffic
    if seen.crashes >= CRASHES:
        return f"{seen.crashes} workers have crashed"
    if seen.failed_probes >= _PROBES:
        return f"it failed {seen.failed_probes} times in a row to answer ({seen.failure})"
    if now.errors >= _LEAST_ERRORS and now.share > max(2 * before.share, _LEAST_SHARE):
        share = f"{now.share:.1%} of {now.requests} requests"
        return f"{share} were answered 5xx, {before.share:.1%} before"
    if now.enough and before.enough and now.p95 > 3 * before.p95 + _SLACK:
        return f"p95 is {now.p95:.0f} ms over {now.requests} requests, {before.p95:.0f} ms before"
    return ""


def seconds(text: str) -> int:
    """`30`, `30s`, `5m`, `1h`; raises ValueError."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"'{text}': expected seconds, as 0, 30, 30s, 5m or 1h")
    return int(found[1]) * _SECONDS[found[2]]
