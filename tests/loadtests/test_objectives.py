from __future__ import annotations

import math
from dataclasses import fields

import pytest

from loadtests.objectives import Limits, Objective, judge
from tests.loadtests.runs import measurement, run

FORK = measurement(run([20] * 1000))
EVEN = {"worker-1": 500, "worker-2": 500}
NONE = Limits(**{field.name: None for field in fields(Limits)})


def missed(limits: Limits, *, failed: int = 0, workers: dict[str, int] = EVEN) -> list[str]:
    """The names of the objectives that a cluster of 1000 answers a second and 20 ms misses."""
    cluster = measurement(
        run([20] * 1000, failed=failed, workers=workers), mode="cluster", workers=2
    )
    return [each.name for each in judge(FORK, cluster, limits) if not each.met]


def test_a_good_run_meets_the_defaults() -> None:
    assert missed(Limits()) == []


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(max_p95=19), "latency p95, cluster"),
        (Limits(max_p99=19), "latency p99, cluster"),
        (Limits(min_throughput=1001), "throughput, cluster"),
        (Limits(min_ratio=1.1), "throughput, cluster / fork"),
    ],
)
def test_each_limit_has_its_objective(limits: Limits, name: str) -> None:
    assert missed(limits) == [name]


def test_one_failure_in_a_thousand_is_allowed_and_two_are_not() -> None:
    assert missed(Limits(), failed=1) == []
    assert missed(Limits(), failed=2) == ["failed requests, cluster"]
    assert missed(Limits(max_error_rate=1), failed=2) == []


def test_a_worker_that_is_left_out_is_unfair() -> None:
    assert missed(Limits(), workers={"worker-1": 1000}) == ["fairness, cluster"]


def test_what_has_no_limit_is_not_judged() -> None:
    assert judge(FORK, FORK, NONE) == []


def test_what_nobody_could_measure_is_missed() -> None:
    silent = measurement(run([], workers={}), mode="cluster", workers=2)
    assert not any(each.met for each in judge(FORK, silent, Limits()) if "fork" not in each.name)


@pytest.mark.parametrize(
    ("value", "at_most", "at_least", "line"),
    [
        (0.5, None, 0.5, "ok  x 0.5 ms (≥ 0.5 ms)"),
        (1234.5, 1000.0, None, "MISS x 1,234 ms (≤ 1,000 ms)"),
        (math.nan, 1.0, None, "MISS x nan ms (≤ 1 ms)"),
    ],
)
def test_an_objective_says_value_and_bound(
    value: float, at_most: float | None, at_least: float | None, line: str
) -> None:
    objective = Objective(name="x", value=value, unit=" ms", at_most=at_most, at_least=at_least)
    assert str(objective).split() == line.split()
