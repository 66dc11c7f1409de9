from __future__ import annotations

import pytest

from bench.peers import wrk_report

CLEAN = """\
Running 3s test @ http://127.0.0.1:10000/json
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.85ms    2.05ms  29.91ms   94.33%
    Req/Sec    11.35k     2.48k   13.57k    66.67%
  Latency Distribution
     50%  292.00us
     75%    3.95ms
     90%    4.75ms
     99%    1.02s
  23698 requests in 3.10s, 2.46MB read
Requests/sec:  11285.26
Transfer/sec:      1.17MB
"""


def with_lines(*lines: str) -> str:
    return CLEAN.replace("Requests/sec:", "\n".join([*lines, "Requests/sec:"]))


def test_numbers_are_read_in_milliseconds_whatever_their_unit() -> None:
    report = wrk_report.read(CLEAN)
    assert (report.requests, report.per_second) == (23698, 11285.26)
    assert report.mean == pytest.approx(2.85)
    assert report.p50 == pytest.approx(0.292)
    assert report.p99 == pytest.approx(1020)


@pytest.mark.parametrize(
    ("lines", "errors"),
    [
        ([], {}),
        (["  Non-2xx or 3xx responses: 7"], {"status": 7}),
        (
            ["  Socket errors: connect 0, read 3, write 0, timeout 12"],
            {"read": 3, "timeout": 12},
        ),
        (
            [
                "  Socket errors: connect 1, read 0, write 0, timeout 0",
                "  Non-2xx or 3xx responses: 2",
            ],
            {"connect": 1, "status": 2},
        ),
    ],
)
def test_errors_are_counted_by_kind(lines: list[str], errors: dict[str, int]) -> None:
    assert wrk_report.read(with_lines(*lines)).errors == errors


def test_a_server_that_answers_nothing_is_a_report_too() -> None:
    silent = CLEAN.replace("2.85ms", "0.00us").replace("94.33%", "-nan%")
    silent = silent.replace("23698 requests", "0 requests").replace("11285.26", "0.00")
    report = wrk_report.read(silent)
    assert (report.requests, report.per_second, report.mean) == (0, 0, 0)


def test_anything_else_is_refused_with_what_it_was() -> None:
    with pytest.raises(wrk_report.UnreadableError, match="usage: wrk"):
        wrk_report.read("usage: wrk <options> <url>")
