from __future__ import annotations

import math

import pytest

from bench.peers.figures import Figures, Spread
from bench.peers.measurement import Measurement
from bench.peers.plan import Plan, turned
from bench.peers.wrk_report import Report
from tests.bench.peers_measured import JSON, measured


def test_a_figure_is_the_median_with_the_least_and_the_most() -> None:
    figures = Figures(measured("ours", 300, 100, 200, 500, 400))
    assert figures.spread(JSON, "ours", "per_second") == Spread(300, 100, 500)


def test_a_ratio_is_of_one_round_not_of_two_medians() -> None:
    # The machine was twice as fast in the second round, for both.
    figures = Figures([*measured("ours", 100, 400, 90), *measured("gthread", 50, 100, 90)])
    assert figures.ratio(JSON, "ours", "gthread", "per_second") == Spread(2.0, 1.0, 4.0)


def test_rounds_with_errors_of_either_side_are_not_used() -> None:
    figures = Figures(
        [
            *measured("ours", 100, 999, 300, errors={2: {"read": 1}}),
            *measured("gthread", 999, 100, 100, errors={1: {"status": 5}}),
        ]
    )
    assert figures.ratio(JSON, "ours", "gthread", "per_second") == Spread(3.0, 3.0, 3.0)
    assert figures.flaws(JSON, "ours") == ["round 2: errors (read 1), not used"]
    assert figures.flaws(JSON, "gthread") == ["round 1: errors (status 5), not used"]


def test_without_a_sound_round_there_is_no_figure() -> None:
    figures = Figures([*measured("ours", 0), *measured("gthread", 100)])
    assert figures.measured(JSON, "ours")
    assert figures.spread(JSON, "ours", "per_second") is None
    assert figures.ratio(JSON, "gthread", "ours", "per_second") is None
    assert figures.flaws(JSON, "ours") == ["round 1: errors (no answer at all), not used"]


def test_connections_that_get_no_answer_are_named() -> None:
    # 32 connections, of which three at a time have an answer within 0.3 ms.
    figures = Figures(measured("uwsgi", 10_000, 10_000, mean=0.3))
    (flaw,) = figures.flaws(JSON, "uwsgi")
    assert flaw.startswith("2 of 2 rounds: as few as 3 of 32 connections were served")
    assert figures.spread(JSON, "uwsgi", "per_second") == Spread(10_000, 10_000, 10_000)


def test_served_connections_are_no_flaw() -> None:
    assert Figures(measured("ours", 1000, 10)).flaws(JSON, "ours") == []


@pytest.mark.parametrize(("requests", "cpu"), [(1000, 500.0), (0, math.nan)])
def test_cpu_is_microseconds_a_request(requests: int, cpu: float) -> None:
    report = Report(requests=requests, per_second=1, mean=1, p50=1, p99=1, errors={})
    found = Measurement.of(report, row=JSON, peer="ours", number=1, connections=32, cpu=0.5)
    assert found.cpu == pytest.approx(cpu, nan_ok=True)


def test_each_round_begins_with_another_peer() -> None:
    orders = [turned("abc", number) for number in range(4)]
    assert orders == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_a_server_of_one_process_is_not_asked_with_two() -> None:
    plan = Plan()
    assert {peer.name for peer in plan.peers_with(1)} - {
        peer.name for peer in plan.peers_with(2)
    } == {"waitress"}
