"""One measurement: a peer under one workload for some seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.peers.wrk_report import Report


class Row(NamedTuple):
    """What peers are compared in: a line of the tables."""

    workload: str
    processes: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Times in milliseconds, but of the CPU in microseconds."""

    row: Row
    peer: str
    round: int
    connections: int
    requests: int
    per_second: float
    mean: float
    p50: float
    p99: float
    cpu: float  # of all the server's processes, for one request; NaN when none was answered
    errors: Mapping[str, int]  # what went wrong: how often

    @classmethod
    def of(
        cls, report: Report, *, row: Row, peer: str, number: int, connections: int, cpu: float
    ) -> Measurement:
        """From wrk's report, and the CPU seconds that the server used meanwhile."""
        return cls(
            row=row,
            peer=peer,
            round=number,
            connections=connections,
            requests=report.requests,
            per_second=report.per_second,
            mean=report.mean,
            p50=report.p50,
            p99=report.p99,
            cpu=cpu / report.requests * 1e6 if report.requests else math.nan,
            errors=dict(report.errors),
        )

    @property
    def sound(self) -> bool:
        """Whether it may be compared: there were answers, and nothing went wrong."""
        return self.requests > 0 and not self.errors

    @property
    def waiting(self) -> float:
        """How many connections waited for an answer at a time, by Little's law.

        Each has a request out nearly all the time. Where far fewer than all connections add up to
        the whole throughput, the others had hardly an answer, and no latency tells of them.
        """
        return self.per_second * self.mean / 1000
