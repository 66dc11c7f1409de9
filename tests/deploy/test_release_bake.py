"""When a new release has turned out bad."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.ops import bake
from deploy.ops.access_lines import parse
from deploy.ops.bake import Seen, Traffic, verdict

CALM = Traffic(requests=1000, errors=0, p95=20)
ROUGH = Traffic(requests=1000, errors=50, p95=200)
UNKNOWN = Traffic()


def traffic(requests: int, errors: int = 0, p95: float = 20) -> Traffic:
    return Traffic(requests=requests, errors=errors, p95=p95)


@pytest.mark.parametrize(
    ("before", "seen", "said"),
    [
        (CALM, Seen(), ""),
        (CALM, Seen(traffic=CALM), ""),
        (CALM, Seen(crashes=1), ""),
        (CALM, Seen(crashes=2), "2 workers have crashed"),
        (CALM, Seen(failed_probes=1, failure="GET /health: 503"), ""),
        (
            CALM,
            Seen(failed_probes=2, failure="GET /health: 503"),
            "it failed 2 times in a row to answer (GET /health: 503)",
        ),
        # 5xx: more than 1 %, at least five of them
        (CALM, Seen(traffic=traffic(10, errors=4)), ""),
        (CALM, Seen(traffic=traffic(500, errors=5)), ""),
        (
            CALM,
            Seen(traffic=traffic(499, errors=5)),
            "1.0% of 499 requests were answered 5xx, 0.0% before",
        ),
        (UNKNOWN, Seen(traffic=traffic(20, errors=5)), "25.0% of 20 requests were"),
        # and more than twice as many as before
        (ROUGH, Seen(traffic=traffic(100, errors=10)), ""),
        (ROUGH, Seen(traffic=traffic(100, errors=11)), "11.0% of 100 requests were"),
        # p95: more than three times as slow, and 100 ms
        (CALM, Seen(traffic=traffic(20, p95=160)), ""),
        (CALM, Seen(traffic=traffic(20, p95=161)), "p95 is 161 ms over 20 requests, 20 ms before"),
        (CALM, Seen(traffic=traffic(19, p95=9999)), ""),
        (traffic(19, p95=20), Seen(traffic=traffic(20, p95=9999)), ""),
        (ROUGH, Seen(traffic=traffic(100, p95=700)), ""),
        (ROUGH, Seen(traffic=traffic(100, p95=701)), "p95 is 701 ms"),
    ],
)
def test_verdict(before: Traffic, seen: Seen, said: str) -> None:
    found = verdict(before, seen)
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_traffic_counts_errors_and_finds_the_percentile() -> None:
    found = Traffic.of([(200, float(ms)) for ms in range(1, 100)] + [(503, 1000.0)])
    assert found == Traffic(requests=100, errors=1, p95=95.0)
    assert str(found) == "100 requests, 1.0% of them 5xx, p95 95 ms"
    assert Traffic.of([(200, 7.0)]).p95 == 7.0
    assert str(Traffic.of([])) == "no requests"


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert bake.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1.5", "30 minutes", "1d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected seconds, as 0, 30, 30s, 5m or 1h"):
        bake.seconds(text)


def line(**changes: Any) -> str:
    said = {
        "timestamp": "2026-11-24T02:00:00.250Z",
        "message": "GET / 200",
        "event": "request",
        "path": "/",
        "status": 200,
        "duration_ms": 1.5,
    }
    return json.dumps(said | changes)


def test_an_access_line_is_a_request() -> None:
    assert parse(line()) == (1795485600.25, 200, 1.5)
    assert parse(line(path="/healthy", status=500)) == (1795485600.25, 500, 1.5)


@pytest.mark.parametrize(
    "other",
    [
        "",
        "2026-11-24 02:00:00 INFO [1] GET / 200 1.50ms",
        '{"event": "request"',
        line(event="worker.ready"),
        line(path="/health"),
        line(path="/health/ready"),
        line(path="/api/health"),
        line(status=None),
        line(timestamp="yesterday"),
    ],
)
def test_what_is_no_visitors_request_is_left_out(other: str) -> None:
    assert parse(other) is None
