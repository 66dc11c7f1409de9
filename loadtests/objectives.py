"""What a load test is held to; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.measurement import Measurement, ratios


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The bounds. None: not held to any.

    The defaults find a defect, not a slow day: two CPUs, which the generator, Postgres and both
    servers share, keep them also while other work goes on.
    """

    max_error_rate: float | None = 0.1  # percent of the requests, of each server
    max_p95: float | None = 2000.0  # milliseconds, all that follow: of the cluster
    max_p99: float | None = 5000.0
    min_throughput: float | None = 25.0  # right answers a second
    min_fairness: float | None = 0.5  # least busy worker over busiest
    min_ratio: float | None = 0.8  # the cluster's throughput over one worker's


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A figure and its bound, `at_most` or `at_least`."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether it keeps its bound; a figure that nobody could measure (NaN) does not."""
        if self.at_most is not None and not self.value <= self.at_most:
            return False
        return self.at_least is None or self.value >= self.at_least

    @property
    def bound(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        return f"{sign} {bound:,g}{self.unit}"

    @property
    def measured(self) -> str:
        digits = 0 if abs(self.value) >= 100 else 1 if self.unit == " ms" else 2
        return f"{self.value:,.{digits}f}{self.unit}"

    def __str__(self) -> str:
        mark = "ok  " if self.met else "MISS"
        return f"{mark}  {self.name:32} {self.measured:>12}   ({self.bound})"


def judge(fork: Measurement, cluster: Measurement, limits: Limits) -> list[Objective]:
    """Every figure that has a limit, beside it."""
    return [
        objective
        for objective in _all(fork, cluster, limits)
        if objective.at_most is not None or objective.at_least is not None
    ]


def _all(fork: Measurement, cluster: Measurement, limits: Limits) -> Iterator[Objective]:
    for side in (fork, cluster):
        yield Objective(
            name=f"failed requests, {side.mode}",
            value=side.error_rate,
            unit=" %",
            at_most=limits.max_error_rate,
        )
    for percent, most in ((95, limits.max_p95), (99, limits.max_p99)):
        yield Objective(
            name=f"latency p{percent}, cluster",
            value=cluster.latency(percent),
            unit=" ms",
            at_most=most,
        )
    yield Objective(
        name="throughput, cluster",
        value=cluster.throughput,
        unit=" /s",
        at_least=limits.min_throughput,
    )
    yield Objective(name="fairness, cluster", value=cluster.fairness, at_least=limits.min_fairness)
    yield Objective(
        name="throughput, cluster / fork",
        value=ratios(fork, cluster)["throughput"].median,
        unit=" ×",
        at_least=limits.min_ratio,
    )
