from __future__ import annotations

from dataclasses import dataclass

import pytest

from deploy.cluster import slots


@dataclass(frozen=True)
class Worker:
    slot: int
    generation: int = 1
    leaving: bool = False


@pytest.mark.parametrize(
    ("workers", "wanted", "missing"),
    [
        ([], 3, [1, 2, 3]),
        ([Worker(1), Worker(3)], 3, [2]),
        ([Worker(1), Worker(2)], 2, []),
        ([Worker(1), Worker(2, leaving=True)], 2, [2]),
        ([Worker(1), Worker(3)], 2, [2]),
        ([Worker(1)], 0, []),
    ],
)
def test_a_slot_is_missing_when_nobody_stays_in_it(
    workers: list[Worker], wanted: int, missing: list[int]
) -> None:
    assert slots.missing(workers, wanted) == missing


@pytest.mark.parametrize(
    ("workers", "wanted", "surplus"),
    [
        ([Worker(1), Worker(2)], 2, []),
        ([Worker(1), Worker(2), Worker(3)], 2, [Worker(3)]),
        ([Worker(1), Worker(1, 2)], 1, [Worker(1)]),
        ([Worker(1), Worker(1, 2), Worker(2)], 2, [Worker(1)]),
        ([Worker(1), Worker(2, leaving=True)], 1, []),
    ],
)
def test_surplus_is_what_is_above_the_number_or_behind_a_newer_generation(
    workers: list[Worker], wanted: int, surplus: list[Worker]
) -> None:
    assert slots.surplus(workers, wanted) == surplus


@pytest.mark.parametrize(
    ("workers", "generation", "slot"),
    [
        ([], 1, 1),
        ([Worker(1), Worker(2)], 1, 3),
        ([Worker(1), Worker(3)], 1, 2),
        ([Worker(1), Worker(2)], 2, 1),
        ([Worker(1, 2), Worker(2)], 2, 2),
        ([Worker(1, leaving=True), Worker(2)], 1, 1),
    ],
)
def test_a_new_worker_takes_the_lowest_slot_its_generation_does_not_hold(
    workers: list[Worker], generation: int, slot: int
) -> None:
    assert slots.next_slot(workers, generation) == slot
