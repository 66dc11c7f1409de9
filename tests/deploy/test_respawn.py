from __future__ import annotations

import itertools

import pytest

from deploy.cluster import respawn
from deploy.cluster.respawn import (
    CRASH_BUDGET,
    KILLS_FORGIVEN,
    LIFE_THAT_FORGETS,
    LONGEST_PAUSE,
    Death,
    History,
    after,
)


def pauses(death: Death, times: int, *, uptime: float = 0.5) -> list[float]:
    """Before each next worker, when they all end so."""
    history, found = History(), []
    for _ in range(times):
        history, pause = after(history, death, uptime)
        found.append(round(pause, 4))
    return found


@pytest.mark.parametrize(
    ("crashes", "pause"),
    [
        (-1, 0.0),
        (0, 0.0),
        (1, 0.1),
        (2, 0.15),
        (3, 0.225),
        (13, 12.9746),
        (14, 15.0),
        (10**9, 15.0),
    ],
)
def test_the_pause_grows_by_half_to_a_quarter_of_a_minute(crashes: int, pause: float) -> None:
    assert respawn.pause(crashes) == pytest.approx(pause, abs=1e-4)


def test_a_pause_is_never_shorter_than_the_one_before() -> None:
    found = [respawn.pause(crashes) for crashes in range(100)]
    assert all(a <= b <= LONGEST_PAUSE for a, b in itertools.pairwise(found))


def test_the_first_crash_of_a_worker_that_was_ready_costs_no_pause() -> None:
    assert pauses(Death.CRASHED, 4) == [0.0, 0.1, 0.15, 0.225]


def test_a_worker_that_never_was_ready_is_not_tried_again_at_once() -> None:
    assert pauses(Death.UNBORN, 3) == [0.1, 0.15, 0.225]


def test_a_killed_worker_comes_back_at_once_until_that_goes_on_and_on() -> None:
    found = pauses(Death.KILLED, KILLS_FORGIVEN + 3)
    assert found[: KILLS_FORGIVEN + 1] == [0.0] * (KILLS_FORGIVEN + 1)
    assert found[KILLS_FORGIVEN + 1 :] == [0.1, 0.15]


def test_kills_between_crashes_neither_count_nor_make_forget() -> None:
    history, _ = after(History(crashes=4), Death.KILLED, 0.5)
    assert history == History(crashes=4, kills=1)
    history, pause = after(history, Death.CRASHED, 0.5)
    assert (history.crashes, pause) == (5, respawn.pause(4))


@pytest.mark.parametrize("death", [Death.KILLED, Death.CRASHED])
@pytest.mark.parametrize("history", [History(), History(crashes=9), History(50, 50)])
def test_a_worker_that_lived_long_enough_starts_a_new_history(
    death: Death, history: History
) -> None:
    assert after(history, death, LIFE_THAT_FORGETS) == after(History(), death, 0.5)
    assert after(history, death, LIFE_THAT_FORGETS)[1] == 0.0


def test_a_loop_is_a_loop_at_the_tenth_crash_in_a_row() -> None:
    for death in (Death.CRASHED, Death.UNBORN):
        history = History()
        for count in range(1, CRASH_BUDGET + 5):
            history, _ = after(history, death, 0.5)
            assert history.exhausted is (count >= CRASH_BUDGET)


def test_boots_that_each_take_their_whole_time_are_a_loop_too() -> None:
    """READY_TIMEOUT is 30 s as well: a worker that never became ready has not lived."""
    history = History()
    for _ in range(CRASH_BUDGET):
        history, _ = after(history, Death.UNBORN, LIFE_THAT_FORGETS + 0.1)
    assert history.exhausted


def test_any_three_deaths_give_a_pause_within_bounds_and_counts_that_only_grow() -> None:
    for deaths in itertools.product(Death, repeat=3):
        history = History()
        for death in deaths:
            before = history
            history, pause = after(history, death, 1.0)
            assert 0.0 <= pause <= LONGEST_PAUSE
            assert history.crashes + history.kills == before.crashes + before.kills + 1
