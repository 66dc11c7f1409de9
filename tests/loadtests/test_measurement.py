from __future__ import annotations

import math

import pytest

from loadtests.measurement import Measurement, Trial, ratios
from loadtests.sampler import Sample, read, within
from tests.loadtests.runs import measurement, run, sample


def test_only_right_answers_are_throughput_and_have_a_latency() -> None:
    side = measurement(run([1, 2, 3], failed=1, seconds=2))
    assert (side.answered, side.failed, side.throughput) == (3, 1, 1.5)
    assert side.error_rate == 25
    assert (side.latency(50), side.latency(99)) == (2, 3)
    assert side.generator_cpu == 12.5


def test_nothing_sent_is_no_error_rate_of_zero() -> None:
    side = measurement(run([]))
    assert math.isnan(side.error_rate)
    assert math.isnan(side.latency(95))
    assert side.throughput == 0


@pytest.mark.parametrize(
    ("answers", "workers", "fairness"),
    [
        ({"worker-1": 50, "worker-2": 100}, 2, 0.5),
        ({"worker-1": 70, "worker-2": 70}, 2, 1.0),
        ({"worker-1": 70}, 2, 0.0),  # the other one answered nothing
        ({"worker-1": 70}, 1, 1.0),
        ({"worker-1": 70, "worker-3": 7}, 1, 0.1),  # scaled meanwhile
        ({}, 2, math.nan),
    ],
)
def test_fairness_counts_workers_that_were_left_out(
    answers: dict[str, int], workers: int, fairness: float
) -> None:
    side = measurement(run([1], workers=answers), workers=workers)
    assert side.fairness == pytest.approx(fairness, nan_ok=True)


def test_rounds_are_summed_and_their_seconds_counted_on() -> None:
    first = run([1, 2], seconds=2.4, workers={"worker-1": 2})
    second = run([3], failed=2, seconds=1.2, workers={"worker-1": 1}, errors={"oh": 2})
    side = measurement(first, second)
    assert [(each.second, each.answered, each.failed) for each in side.timeline] == [
        (0, 2, 0),
        (1, 0, 0),
        (2, 1, 2),
    ]
    assert side.begins == [0, 2]
    assert [each.second for each in side.samples] == [0.5, 2.5]
    assert [(load.worker, load.answered, load.cpu) for load in side.loads] == [("worker-1", 3, 50)]
    assert side.errors == {"oh": 2}


def test_endpoints_are_told_apart() -> None:
    side = measurement(
        run([1, 3], endpoint="GET /b"), run([5], failed=1, endpoint="POST /a"), run([2])
    )
    rows = [(row.name, row.requests, row.failed, row.p50) for row in side.endpoints]
    assert rows == [("POST /a", 2, 1, 5), ("GET /b", 2, 0, 1), ("GET /health", 1, 0, 2)]


def test_ratios_are_those_of_rounds_and_their_median() -> None:
    fork = measurement(run([10] * 10), run([10] * 10), run([10] * 10))
    cluster = measurement(run([5] * 20), run([20] * 5), run([5] * 15), mode="cluster", workers=2)
    found = ratios(fork, cluster)
    assert found["throughput"].rounds == (2.0, 0.5, 1.5)
    assert found["throughput"].median == 1.5
    assert found["p95"].median == 0.5


def test_a_round_in_which_one_answered_nothing_has_no_ratio() -> None:
    found = ratios(measurement(run([])), measurement(run([1]), mode="cluster"))
    assert math.isnan(found["throughput"].median)
    assert math.isnan(found["p99"].median)


def test_samples_are_of_workers_that_serve_and_of_seconds_within_the_run() -> None:
    slots = [
        {"worker": "worker-1", "state": "ready", "pid": 7, "cpu_percent": 12.5, "rss": 9, "pss": 8},
        {"worker": "worker-2", "state": "ready", "pid": 8, "cpu_percent": None, "rss": 9, "pss": 8},
        {"worker": "worker-3", "state": "down", "pid": None},
    ]
    found = [*read({"slots": slots}, 1001.5)]
    assert found[0] == Sample(second=1001.5, worker="worker-1", cpu=12.5, rss=9, pss=8)
    assert math.isnan(found[1].cpu)
    assert [each.worker for each in found] == ["worker-1", "worker-2"]
    moments = [sample(1000.9), sample(1001), sample(1003), sample(1003.1)]
    assert [each.second for each in within(moments, run(seconds=3))] == [1, 3]


def test_a_worker_that_nobody_sampled_is_listed_all_the_same() -> None:
    load = Measurement("cluster", 2, (Trial(run(), []),)).loads[1]
    assert (load.worker, load.answered) == ("worker-2", 0)
    assert math.isnan(load.cpu)
    assert math.isnan(load.rss)
