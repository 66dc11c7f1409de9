"""What our worker is held to beside its peers; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bench.objective import Objective
from bench.peers.figures import Figures, What
from bench.peers.lineup import BASE, OURS, SETTLED
from bench.peers.lineup import BY_NAME as PEERS
from bench.peers.measurement import Row
from bench.peers.workloads import BY_NAME as WORKLOADS

_P99_MOST = 1.0


@dataclass(frozen=True)
class _Bound:
    row: Row
    peer: str
    least: float


_BOUNDS = (
    _Bound(Row("json", 1), "granian", 1.0),
    _Bound(Row("json", 1), BASE, 4.0),
    _Bound(Row("session-read", 1), "express", 1.5),
    _Bound(Row("sleep", 1), BASE, 1.0),
)


def of(figures: Figures) -> list[Objective]:
    """Those of which both sides were measured; a bound without a sound round is missed."""
    return [each for ours in (OURS, SETTLED) for each in _of(figures, ours)]


def _of(figures: Figures, ours: str) -> Iterator[Objective]:
    for each in _BOUNDS:
        if figures.measured(each.row, ours) and figures.measured(each.row, each.peer):
            peer = PEERS[each.peer].title
            yield Objective(
                name=f"requests/s of {PEERS[ours].title} / {peer}, {named(each.row)}",
                value=_median(figures, each.row, ours, each.peer, "per_second"),
                unit="×",
                at_least=each.least,
            )
    yield from _worst_p99(figures, ours)


def named(row: Row) -> str:
    """The row, for people."""
    plural = "" if row.processes == 1 else "es"
    return f"{WORKLOADS[row.workload].title}, {row.processes} process{plural}"


def _worst_p99(figures: Figures, ours: str) -> Iterator[Objective]:
    ratios = {
        row: _median(figures, row, ours, BASE, "p99")
        for row in figures.rows
        if figures.measured(row, ours) and figures.measured(row, BASE)
    }
    if ratios:
        # A row that nobody could measure is worse than any.
        worst = max(ratios, key=lambda row: math.inf if math.isnan(ratios[row]) else ratios[row])
        yield Objective(
            name=f"p99 of {PEERS[ours].title} / {PEERS[BASE].title}, worst row: {named(worst)}",
            value=ratios[worst],
            unit="×",
            at_most=_P99_MOST,
        )


def _median(figures: Figures, row: Row, ours: str, peer: str, what: What) -> float:
    ratio = figures.ratio(row, ours, peer, what)
    return math.nan if ratio is None else ratio.median
