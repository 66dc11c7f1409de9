"""What is made of the counts: how even they are, and what is chance."""

from __future__ import annotations

import math

import pytest

from bench.fairness import Cell, Pair, Visits, certainty, evenness, objectives

NEW = Visits(path="/", kept=False)


@pytest.mark.parametrize(
    ("counts", "workers", "expected"),
    [
        ({1: 50, 2: 50}, 2, 1.0),
        ({1: 25, 2: 100}, 2, 0.25),
        ({1: 100}, 2, 0.0),  # the other one was never asked
        ({1: 10, 2: 20, 3: 40}, 4, 0.0),
        ({}, 2, 0.0),
    ],
)
def test_evenness_is_the_fewest_over_the_most(
    counts: dict[int, int], workers: int, expected: float
) -> None:
    assert evenness(counts, workers) == expected


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(0.5, 0.5), (0.1, 0.1)], 0.0),
        ([(0.6, 0.5), (0.6, 0.5)], math.inf),
        ([(0.4, 0.5), (0.4, 0.5)], -math.inf),
        ([(0.4, 0.1), (0.2, 0.1)], 2.0),  # 0.3 and 0.1: 0.2 on average, give or take 0.1
    ],
)
def test_certainty_is_the_mean_difference_in_its_standard_errors(
    pairs: list[Pair], expected: float
) -> None:
    assert certainty(pairs) == pytest.approx(expected)


def test_less_even_beyond_chance_misses_the_bound_and_more_even_keeps_it() -> None:
    worse = [(0.1, 0.8), (0.2, 0.9), (0.1, 0.9)]
    for pairs, met in ((worse, False), ([(ours, plain) for plain, ours in worse], True)):
        bound, line = objectives({Cell(workers=2, visits=NEW, load=0.5): pairs})
        assert bound.met is met
        assert line.at_least is None


def test_each_load_has_a_bound_with_its_medians_below_it() -> None:
    pairs = [(0.5, 0.4), (0.9, 0.8), (0.6, 0.6)]
    cells = {
        Cell(workers=workers, visits=NEW, load=load): pairs
        for load in (1.0, 0.05)
        for workers in (2, 4)
    }
    found = objectives(cells)
    assert [each.at_least is not None for each in found] == [True, False, False] * 2
    assert found[1].value == 0.6
    assert "stock 0.60" in found[1].name
