"""What a run proved: counts, percentiles and the comparison with the server's own count; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from loadtests.outcome import Fault, Kind, Outcome

PERCENTILES = (50, 90, 99, 99.9, 100)
_DETAILS = 20  # failures told one by one


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the ascending values do not exceed; NaN for none."""
    if not ordered:
        return math.nan
    rank = math.ceil(round(len(ordered) * percent / 100, 6))  # rounded: 99.9 is not exact in binary
    return ordered[max(rank, 1) - 1]


@dataclass(frozen=True)
class Report:
    """The requests of a run that have ended, in the order in which they were due.

    Latencies are seconds from when a request was due to its complete answer, so that a stall is
    seen by each request that was due during it. They are those of requests that were answered;
    the others are failures.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float  # during which requests were due

    @property
    def sent(self) -> int:
        """Requests begun, also those whose connection was refused."""
        return len(self.outcomes)

    @property
    def answered(self) -> int:
        """Complete answers, whatever their status."""
        return sum(outcome.status is not None for outcome in self.outcomes)

    @property
    def reused(self) -> int:
        """Requests that went by a connection which had carried others."""
        return sum(outcome.reused for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        return len(self._failed)

    @property
    def failures(self) -> dict[str, int]:
        """How many failed for each reason, by the values of Fault; only those that occurred."""
        counts = Counter(outcome.fault for outcome in self._failed)
        return {fault.value: counts[fault] for fault in Fault if counts[fault]}

    @property
    def details(self) -> tuple[str, ...]:
        """One line for each of the first twenty failures: when it was due, how, and what came."""
        return tuple(
            f"{outcome.due:8.3f} s  {outcome.kind:9}  {outcome.fault}: {outcome.detail} "
            f"after {outcome.latency:.3f} s"
            for outcome in self._failed[:_DETAILS]
        )

    @property
    def rate(self) -> float:
        """Requests begun per second."""
        return self.sent / self.seconds if self.seconds else 0.0

    def latency(self, percent: float, kind: Kind | None = None) -> float:
        """That percentile in seconds, of one kind of connection or of all; 100 is the maximum."""
        return percentile(self._latencies[kind], percent)

    def lateness(self, percent: float) -> float:
        """How late, in seconds, the client itself began its requests; a busy machine shows here."""
        return percentile(sorted(outcome.late for outcome in self.outcomes), percent)

    def slowest(self, kind: Kind | None = None) -> float:
        """When the request with the longest latency was due, in seconds into the run."""
        answered = self._answered(kind)
        return max(answered, key=lambda outcome: outcome.latency).due if answered else math.nan

    def in_window(self, start: float, end: float) -> Report:
        """The part of the requests that were due in these seconds of the run, `end` excluded."""
        inside = tuple(outcome for outcome in self.outcomes if start <= outcome.due < end)
        return Report(inside, max(0.0, min(end, self.seconds) - start))

    def facts(self) -> dict[str, Any]:
        """The report as a JSON object; times in milliseconds, None where nothing was answered."""
        return {
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "failures": self.failures,
            "details": list(self.details),
            "reused_connections": self.reused,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 2),
            "latency_ms": {name: self._figures(kind) for name, kind in self._groups()},
            "client_late_ms": {
                "p99": _milliseconds(self.lateness(99)),
                "max": _milliseconds(self.lateness(100)),
            },
        }

    def lines(self) -> list[str]:
        """The report for people, failures and latencies; one string a line."""
        counts = ", ".join(f"{fault} {count}" for fault, count in self.failures.items())
        lines = [f"failures: {self.failed}" + (f" ({counts})" if counts else "")]
        lines += [f"  {detail}" for detail in self.details]
        if self.failed > _DETAILS:
            lines.append(f"  and {self.failed - _DETAILS} more")
        lines.append(f"rate: {self.rate:.1f}/s; {self.reused} on a connection used before")
        heads = [f"{_name(percent):>9}" for percent in PERCENTILES]
        lines.append("latency, ms from due" + "".join(heads) + "   slowest at")
        for name, kind in self._groups():
            if self._latencies[kind]:
                values = [f"{self.latency(percent, kind) * 1000:9.1f}" for percent in PERCENTILES]
                lines.append(f"  {name:18}" + "".join(values) + f"{self.slowest(kind):11.3f} s")
        late = f"p99 {self.lateness(99) * 1000:.1f} ms, max {self.lateness(100) * 1000:.1f} ms"
        return [*lines, f"the client itself was late by: {late}"]

    def _groups(self) -> list[tuple[str, Kind | None]]:
        used = {outcome.kind for outcome in self.outcomes}
        return [("all", None), *((kind.value, kind) for kind in Kind if kind in used)]

    def _figures(self, kind: Kind | None) -> dict[str, float | None]:
        figures = {_name(p): _milliseconds(self.latency(p, kind)) for p in PERCENTILES}
        slowest = self.slowest(kind)
        return figures | {"slowest_at_s": None if math.isnan(slowest) else round(slowest, 3)}

    def _answered(self, kind: Kind | None) -> list[Outcome]:
        return [o for o in self.outcomes if o.status is not None and kind in (None, o.kind)]

    @cached_property
    def _failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.fault is not None]

    @cached_property
    def _latencies(self) -> dict[Kind | None, list[float]]:
        kinds = (None, *Kind)
        return {kind: sorted(outcome.latency for outcome in self._answered(kind)) for kind in kinds}


@dataclass(frozen=True)
class Reconciliation:
    """The client's totals beside the server's."""

    sent: int
    answered: int
    served: int

    @property
    def problem(self) -> str | None:
        """Why the totals contradict each other; None when they agree."""
        if self.served < self.answered:
            return f"the server counts {self.answered - self.served} fewer than were received"
        if self.served > self.sent:
            return f"the server counts {self.served - self.sent} more than were sent"
        return None

    def __str__(self) -> str:
        client = f"client: sent {self.sent}, answered {self.answered}"
        return f"{client}; server: answered {self.served}"


def reconcile(sent: int, answered: int, served: int) -> Reconciliation:
    """Compares what this client sent and got answered with what the server says it answered.

    What was sent but not answered may have been served (its answer was lost or came too late), so
    anything from `answered` to `sent` agrees. Fewer: an answer came from nowhere, or the server
    lost count (a worker that is killed just after its answer). More: a request was served twice,
    or another client was there.
    """
    return Reconciliation(sent, answered, served)


def verdict(
    report: Report,
    reconciliation: Reconciliation | None = None,
    *,
    max_failures: int = 0,
    expect_failures: bool = False,
) -> str | None:
    """Why the run failed, in one line; None when it proved what it was to prove.

    With `expect_failures` (a negative control) it is a run without any that fails.
    """
    if reconciliation is not None and reconciliation.problem:
        return reconciliation.problem
    if not report.sent:
        return "nothing was sent"
    if expect_failures:
        return None if report.failed else "failures were expected, and there were none"
    if report.failed > max_failures:
        return f"{report.failed} of {report.sent} failed, {max_failures} allowed"
    return None


def _name(percent: float) -> str:
    return "max" if percent == 100 else f"p{percent:g}"


def _milliseconds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 3)
