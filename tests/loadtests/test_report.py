from __future__ import annotations

import json
import math

import pytest

from loadtests.outcome import Fault, Kind, Outcome
from loadtests.report import Report, percentile, reconcile, verdict


def outcome(
    due: float = 0.0,
    latency: float = 0.01,
    kind: Kind = Kind.FRESH,
    fault: Fault | None = None,
    status: int | None = 200,
) -> Outcome:
    detail = "what came" if fault else "status 200"
    return Outcome(due, 0.001, latency, kind, False, status, fault, detail)


LOST = outcome(0.5, 9.0, Kind.KEEPALIVE, Fault.RESET, None)
REFUSED = outcome(0.7, 0.0, Kind.FRESH, Fault.REFUSED, None)
BROKEN = outcome(0.8, 0.5, Kind.FRESH, Fault.SERVER_ERROR, 500)


@pytest.mark.parametrize(
    ("count", "percent", "value"),
    [
        (1, 50, 1),
        (2, 50, 1),
        (100, 50, 50),
        (100, 99, 99),
        (100, 99.9, 100),
        (1000, 99.9, 999),
        (1001, 99.9, 1000),
        (10, 100, 10),
        (10, 0, 1),
    ],
)
def test_percentiles_are_values_that_occurred(count: int, percent: float, value: int) -> None:
    assert percentile(range(1, count + 1), percent) == value


def test_without_values_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 50))


def test_failures_are_counted_apart() -> None:
    report = Report((outcome(), LOST, REFUSED, BROKEN), 1.0)
    assert (report.sent, report.answered, report.failed) == (4, 2, 3)
    assert report.failures == {"refused": 1, "reset": 1, "server_error": 1}
    assert report.rate == 4
    assert report.details[0] == "   0.500 s  keepalive  reset: what came after 9.000 s"


def test_latency_is_that_of_answers() -> None:
    report = Report((outcome(), LOST, REFUSED, BROKEN), 1.0)
    assert report.latency(100) == 0.5
    assert report.latency(50) == 0.01
    assert report.slowest() == 0.8
    assert math.isnan(report.latency(100, Kind.KEEPALIVE))


def test_a_window_holds_what_was_due_in_it() -> None:
    report = Report((outcome(), LOST, REFUSED, BROKEN), 1.0)
    assert report.in_window(0.5, 0.7).outcomes == (LOST,)
    assert report.in_window(0.75, 5).failures == {"server_error": 1}
    assert report.in_window(0.75, 5).seconds == 0.25
    assert report.in_window(2, 3).sent == 0


def test_a_report_without_answers_can_be_told() -> None:
    report = Report((REFUSED,) * 25, 1.0)
    assert "  and 5 more" in report.lines()
    facts = json.loads(json.dumps(report.facts(), allow_nan=False))
    assert facts["latency_ms"]["all"]["p99"] is None
    assert len(facts["details"]) == 20


@pytest.mark.parametrize(
    ("sent", "answered", "served", "problem"),
    [
        (4000, 4000, 4000, None),
        (4000, 3990, 3990, None),
        (4000, 3990, 4000, None),  # ten answers were lost, and they are counted as failures
        (4000, 4000, 3999, "the server counts 1 fewer than were received"),
        (4000, 3990, 4001, "the server counts 1 more than were sent"),
        (0, 0, 0, None),
    ],
)
def test_totals_are_compared(sent: int, answered: int, served: int, problem: str | None) -> None:
    reconciliation = reconcile(sent, answered, served)
    assert reconciliation.problem == problem
    assert str(reconciliation) == (
        f"client: sent {sent}, answered {answered}; server: answered {served}"
    )


@pytest.mark.parametrize(
    ("report", "max_failures", "expect_failures", "problem"),
    [
        (Report((outcome(),), 1), 0, False, None),
        (Report((outcome(), LOST), 1), 0, False, "1 of 2 failed, 0 allowed"),
        (Report((outcome(), LOST), 1), 1, False, None),
        (Report((outcome(), LOST), 1), 0, True, None),
        (Report((outcome(),), 1), 0, True, "failures were expected, and there were none"),
        (Report((), 1), 0, False, "nothing was sent"),
    ],
)
def test_the_verdict(
    report: Report, max_failures: int, expect_failures: bool, problem: str | None
) -> None:
    said = verdict(report, max_failures=max_failures, expect_failures=expect_failures)
    assert said == problem


def test_a_contradiction_fails_the_run_whatever_was_allowed() -> None:
    said = verdict(Report((outcome(),), 1), reconcile(1, 1, 0), max_failures=9)
    assert said == "the server counts 1 fewer than were received"
