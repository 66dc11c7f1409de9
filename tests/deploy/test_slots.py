from __future__ import annotations

import itertools
import random
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import pytest

from deploy.cluster import slots
from deploy.cluster.slots import Plan

AGES = itertools.count(1)


@dataclass(frozen=True)
class Worker:
    slot: int
    age: int = 1
    ready: bool = True
    retiring: str = ""
    leaving: bool = False


def booting(slot: int, age: int = 1) -> Worker:
    return Worker(slot, age, ready=False)


def worn(slot: int, age: int = 1, *, ready: bool = True) -> Worker:
    return Worker(slot, age, ready=ready, retiring="reload")


def left(slot: int, age: int = 1) -> Worker:
    return Worker(slot, age, leaving=True)


@pytest.mark.parametrize(
    ("workers", "wanted", "start"),
    [
        ([], 3, [1, 2, 3]),
        ([Worker(1), Worker(3)], 3, [2]),
        ([Worker(1), Worker(2)], 2, []),
        ([Worker(1), booting(2)], 2, []),
        ([Worker(1), left(2)], 2, [2]),
        ([Worker(1), Worker(3)], 2, [2]),
        ([worn(1, ready=False), Worker(2)], 2, [1]),
        ([Worker(1)], 0, []),
    ],
)
def test_every_slot_that_nobody_holds_gets_a_worker_at_once(
    workers: list[Worker], wanted: int, start: list[int]
) -> None:
    assert slots.plan(workers, wanted).start == start


@pytest.mark.parametrize(
    ("workers", "wanted", "stop"),
    [
        ([Worker(1), Worker(2)], 2, []),
        ([Worker(1), Worker(2), Worker(3)], 2, [Worker(3)]),
        ([Worker(1), booting(2), worn(3)], 1, [booting(2), worn(3)]),
        ([Worker(1), left(2)], 1, []),
        ([Worker(1)], 0, [Worker(1)]),
    ],
)
def test_scaling_down_stops_the_highest_slots(
    workers: list[Worker], wanted: int, stop: list[Worker]
) -> None:
    assert slots.plan(workers, wanted).stop == stop


@pytest.mark.parametrize(
    ("workers", "plan"),
    [
        ([worn(1)], Plan([1], [])),
        ([worn(1), booting(1, 2)], Plan([], [])),
        ([worn(1), Worker(1, 2)], Plan([], [worn(1)])),
        ([left(1), Worker(1, 2)], Plan([], [])),
        ([worn(1, ready=False)], Plan([1], [worn(1, ready=False)])),
        ([worn(1), worn(1, 2, ready=False)], Plan([1], [worn(1, 2, ready=False)])),
        ([Worker(1), Worker(1, 2)], Plan([], [Worker(1)])),
    ],
)
def test_a_worn_worker_leaves_when_its_successor_is_ready(
    workers: list[Worker], plan: Plan[Worker]
) -> None:
    assert slots.plan(workers, 1) == plan


def test_one_slot_is_replaced_at_a_time_and_vacant_ones_do_not_wait_for_it() -> None:
    assert slots.plan([worn(1), worn(2), worn(3)], 3).start == [1]
    assert slots.plan([worn(1), worn(2), booting(2, 4), worn(3)], 3).start == []
    assert slots.plan([worn(1), worn(2), booting(2, 4), worn(4)], 4).start == [3]
    assert slots.plan([worn(1), worn(2)], 3).start == [3, 1]


def test_a_slot_that_is_ready_again_lets_the_next_one_begin_in_the_same_step() -> None:
    assert slots.plan([worn(1), Worker(1, 3), worn(2)], 2) == Plan([2], [worn(1)])


def test_a_held_slot_gets_no_worker_and_keeps_no_other_from_one() -> None:
    assert slots.plan([Worker(3)], 3, held={1}).start == [2]
    assert slots.plan([worn(1), worn(2)], 2, held={1}) == Plan([2], [])


def test_the_former_generation_takes_its_slots_back_by_the_same_rules() -> None:
    """The candidate got as far as slot 2: its workers are worn now, and the others just stay."""
    workers = [
        worn(1, 4),
        Worker(2, 2),
        worn(2, 5, ready=False),
        Worker(3, 3),
    ]
    assert slots.plan(workers, 3) == Plan([1], [worn(2, 5, ready=False)])
    returned = [worn(1, 4), Worker(1, 6), Worker(2, 2), Worker(3, 3)]
    assert slots.plan(returned, 3) == Plan([], [worn(1, 4)])
    assert not slots.settled(returned, 3)
    assert slots.settled(returned[1:], 3)


@pytest.mark.parametrize(
    ("workers", "wanted", "ready"),
    [
        ([], 2, 0),
        ([Worker(1), booting(2)], 2, 1),
        ([worn(1), Worker(1, 2)], 2, 1),
        ([left(1), Worker(2)], 2, 1),
        ([Worker(1), Worker(3)], 2, 1),
        ([Worker(0), Worker(1)], 1, 1),
    ],
)
def test_a_slot_counts_once_while_a_worker_of_it_stays_and_is_ready(
    workers: list[Worker], wanted: int, ready: int
) -> None:
    assert slots.ready_slots(workers, wanted) == ready


@pytest.mark.parametrize(
    ("workers", "wanted", "settled"),
    [
        ([], 0, True),
        ([Worker(1), Worker(2)], 2, True),
        ([Worker(1), Worker(2), left(2)], 2, True),
        ([Worker(1), booting(2)], 2, False),
        ([Worker(1), worn(2)], 2, False),
        ([Worker(1), Worker(2), Worker(3)], 2, False),
        ([Worker(1), Worker(2), booting(2, 3)], 2, False),
        ([Worker(1), Worker(1, 2)], 2, False),
    ],
)
def test_settled_means_one_ready_worker_in_each_slot_and_no_other(
    workers: list[Worker], wanted: int, settled: bool
) -> None:
    assert slots.settled(workers, wanted) is settled


def test_every_small_state_is_answered_without_contradiction() -> None:
    """All sets of up to three workers in two slots: what starts, and what stops, is allowed."""
    kinds = [
        Worker(slot, 0, ready=ready, retiring=retiring, leaving=leaving)
        for slot in (1, 2, 3)
        for ready in (False, True)
        for retiring in ("", "reload")
        for leaving in (False, True)
    ]
    for count in range(4):
        for chosen in itertools.combinations_with_replacement(kinds, count):
            workers = [replace(worker, age=age) for age, worker in enumerate(chosen)]
            for held in (set[int](), {1}, {1, 2}):
                check(workers, 2, held)


def check(workers: list[Worker], wanted: int, held: Container[int]) -> Plan[Worker]:
    """The plan, of which everything holds that holds of any."""
    plan = slots.plan(workers, wanted, held=held)
    assert len(set(plan.start)) == len(plan.start)
    assert len(set(plan.stop)) == len(plan.stop)
    assert not any(slot in held or not 1 <= slot <= wanted for slot in plan.start)
    assert not any(worker.leaving for worker in plan.stop)
    kept = [worker for worker in workers if worker not in plan.stop]
    served = {w.slot for w in workers if w.ready and not w.leaving and w.slot <= wanted}
    assert {w.slot for w in kept if w.ready and not w.leaving and w.slot <= wanted} == served
    assert not any(w.slot > wanted and not w.leaving for w in kept)
    start_first = [slot for slot in plan.start if slot in served]
    fresh = {w.slot for w in kept if not (w.ready or w.retiring or w.leaving)}
    under_way = {w.slot for w in kept if w.retiring and w.slot in fresh and not w.leaving}
    assert len(start_first) <= (0 if under_way else 1)
    if slots.settled(workers, wanted):
        assert plan == Plan([], [])
    return plan


def random_crew(chance: random.Random, most: int) -> Iterator[Worker]:
    """A state that the rules could have led to: at most one replacement is under way."""
    replacing = chance.randrange(most + 1)
    for slot in range(1, most + 1):
        kind = chance.choice(["empty", "booting", "ready", "worn", "worn"])
        if kind != "empty":
            yield Worker(
                slot,
                next(AGES),
                ready=kind != "booting",
                retiring="reload" if kind == "worn" else "",
            )
        if kind == "worn" and slot == replacing:
            yield booting(slot, next(AGES))
        if chance.random() < 0.2:
            yield left(slot, next(AGES))


@pytest.mark.parametrize("seed", range(60))
def test_from_any_state_the_slots_settle_and_one_that_serves_goes_on_serving(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seed that can be repeated
    wanted = chance.randrange(1, 7)
    crew = list(random_crew(chance, chance.randrange(7)))
    crashes = 5
    held: dict[int, int] = {}  # slot: steps
    for _ in range(200):
        served = {w.slot for w in crew if w.ready and not w.leaving and w.slot <= wanted}
        plan = check(crew, wanted, held)
        crew = [replace(w, leaving=True) if w in plan.stop else w for w in crew]
        crew += [booting(slot, next(AGES)) for slot in plan.start]
        assert served <= {w.slot for w in crew if w.ready and not w.leaving}
        starting = {w.slot for w in crew if not (w.ready or w.retiring or w.leaving)}
        worn_slots = {w.slot for w in crew if w.retiring and w.ready and not w.leaving}
        assert len(starting & worn_slots) <= 1
        held = {slot: steps - 1 for slot, steps in held.items() if steps > 1}
        if slots.settled(crew, wanted):
            break
        # The world goes on: some leave, some become ready, a few crash before they do.
        crew = [w for w in crew if not (w.leaving and chance.random() < 0.5)]
        for worker in [w for w in crew if not w.ready and not w.leaving]:
            if crashes and chance.random() < 0.2:
                crashes -= 1
                held[worker.slot] = chance.randrange(1, 6)
                crew.remove(worker)
            elif chance.random() < 0.6:
                crew[crew.index(worker)] = replace(worker, ready=True)
    assert slots.settled(crew, wanted)


@pytest.mark.parametrize("seed", range(20))
def test_a_rolling_replacement_and_its_return_never_cost_a_ready_slot(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    wanted = chance.randrange(1, 6)
    crew = [worn(slot, next(AGES)) for slot in range(1, wanted + 1)]
    old = max(worker.age for worker in crew)
    fails_after = chance.randrange(12)
    for step in range(100):
        if step == fails_after:  # the candidate's workers are worn now, the others stay
            crew = [replace(w, retiring="return" if w.age > old else "") for w in crew]
            old = 0  # whoever comes now is of the good release, and stays
        assert slots.ready_slots(crew, wanted) == wanted
        plan = check(crew, wanted, ())
        crew = [w for w in crew if w not in plan.stop]
        crew += [booting(slot, next(AGES)) for slot in plan.start]
        if step > fails_after and slots.settled(crew, wanted):
            break
        crew = [replace(w, ready=w.ready or chance.random() < 0.5) for w in crew]
    assert slots.settled(crew, wanted)


@pytest.mark.parametrize(("before", "after"), [*itertools.product(range(5), repeat=2)])
def test_scaling_keeps_the_lowest_slots(before: int, after: int) -> None:
    crew = [Worker(slot, next(AGES)) for slot in range(1, before + 1)]
    plan = check(crew, after, ())
    assert plan.start == list(range(before + 1, after + 1))
    assert [worker.slot for worker in plan.stop] == list(range(after + 1, before + 1))
