from __future__ import annotations

import math

import pytest

from bench.peers import objectives
from bench.peers.figures import Figures
from bench.peers.measurement import Row
from tests.bench.peers_measured import measured

WRITE = Row("session-write", 2)


def test_bounds_are_held_to_the_median_of_the_ratios() -> None:
    figures = Figures([*measured("ours", 399, 401, 402), *measured("gthread", 100, 100, 100)])
    throughput, latency = objectives.of(figures)
    assert (throughput.value, throughput.at_least, throughput.met) == (4.01, 4, True)
    assert throughput.name == "requests/s of ours / stock gthread, JSON, 1 process"
    assert latency.met


def test_each_of_ours_is_held_to_the_bounds() -> None:
    figures = Figures([*measured("ours-cpu", 300, 300, 300), *measured("gthread", 100, 100, 100)])
    throughput, latency = objectives.of(figures)
    assert throughput.name == "requests/s of ours, settled / stock gthread, JSON, 1 process"
    assert not throughput.met
    assert latency.name.startswith("p99 of ours, settled / stock gthread, worst row")


def test_only_what_was_measured_is_judged() -> None:
    assert objectives.of(Figures(measured("ours", 100))) == []
    figures = Figures([*measured("ours", 100), *measured("granian", 100)])
    (only,) = objectives.of(figures)
    assert (only.value, only.at_least, only.met) == (1, 1, True)


def test_the_worst_row_of_all_is_named() -> None:
    figures = Figures(
        [
            *measured("ours", 400, p99=5),
            *measured("gthread", 100, p99=10),
            *measured("ours", 400, p99=12, row=WRITE),
            *measured("gthread", 100, p99=10, row=WRITE),
        ]
    )
    worst = objectives.of(figures)[-1]
    assert worst.name == "p99 of ours / stock gthread, worst row: session write, 2 processes"
    assert worst.value == pytest.approx(1.2)
    assert not worst.met


def test_a_row_that_could_not_be_measured_is_missed_not_passed_over() -> None:
    figures = Figures(
        [
            *measured("ours", 400, p99=5),
            *measured("gthread", 100, p99=10),
            *measured("ours", 400, row=WRITE, errors={1: {"timeout": 1}}),
            *measured("gthread", 100, row=WRITE),
        ]
    )
    throughput, worst = objectives.of(figures)
    assert throughput.met
    assert "session write" in worst.name
    assert math.isnan(worst.value)
    assert not worst.met
