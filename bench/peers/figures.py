"""What the rounds say together: medians with their spread, and ratios; pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.peers.measurement import Measurement, Row

What = Literal["per_second", "p50", "p99", "cpu"]
_STARVED = 0.5  # of the connections


@dataclass(frozen=True)
class Spread:
    """Of the rounds' values the median, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None without values."""
        return cls(statistics.median(values), min(values), max(values)) if values else None


class Figures:
    """The measurements of one run. Those that are not sound count nowhere; `flaws` names them."""

    def __init__(self, measurements: Iterable[Measurement]):
        self._all = list(measurements)
        self.rows = list(dict.fromkeys(each.row for each in self._all))
        self.peers = list(dict.fromkeys(each.peer for each in self._all))

    def measured(self, row: Row, peer: str) -> bool:
        """Whether the peer was asked that, whatever it answered."""
        return any(each.row == row and each.peer == peer for each in self._all)

    def spread(self, row: Row, peer: str, what: What) -> Spread | None:
        """Over the sound rounds; None when there are none."""
        return Spread.of(list(self._rounds(row, peer, what).values()))

    def ratio(self, row: Row, peer: str, base: str, what: What) -> Spread | None:
        """Of the rounds' ratios, where both are sound; None when there is no such round."""
        ones, others = self._rounds(row, peer, what), self._rounds(row, base, what)
        return Spread.of([ones[each] / others[each] for each in ones.keys() & others.keys()])

    def flaws(self, row: Row, peer: str) -> list[str]:
        """What is wrong with the rounds of a peer, a line each; empty when nothing is."""
        mine = [each for each in self._all if each.row == row and each.peer == peer]
        found = [
            f"round {each.round}: errors ({_listed(each)}), not used"
            for each in mine
            if not each.sound
        ]
        starved = [each for each in mine if each.sound and _starved(each)]
        if starved:
            fewest = min(starved, key=lambda each: each.waiting)
            found.append(
                f"{len(starved)} of {len(mine)} rounds: as few as {fewest.waiting:.0f} of "
                f"{fewest.connections} connections were served; the others waited, "
                "and no latency tells of them"
            )
        return found

    def _rounds(self, row: Row, peer: str, what: What) -> dict[int, float]:
        return {
            each.round: getattr(each, what)
            for each in self._all
            if each.row == row and each.peer == peer and each.sound
        }


def _starved(measurement: Measurement) -> bool:
    return measurement.waiting < _STARVED * measurement.connections


def _listed(measurement: Measurement) -> str:
    listed = ", ".join(f"{kind} {count}" for kind, count in measurement.errors.items())
    return listed or "no answer at all"
