"""Whose turn it is to accept, decided from what the workers say of themselves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.cluster.adaptive.turn import ACCEPTED_MOST, Turn, share
from deploy.state import neighbours
from deploy.state.neighbours import Load
from deploy.state.scoreboard import Scoreboard
from deploy.state.seat import Seat
from tests.deploy.test_scoreboard import MASTER, claim

IDLE, BUSY = False, True


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        (Load(3, IDLE, 9.0), [], ACCEPTED_MOST),
        # the fewest connections first
        (Load(0, IDLE, 9.0), [Load(1, IDLE, 1.0)], 1),
        (Load(1, IDLE, 1.0), [Load(0, IDLE, 9.0)], 0),
        (Load(1, IDLE, 1.0), [Load(5, IDLE, 2.0), Load(0, BUSY, 9.0)], 0),
        (Load(2, IDLE, 1.0), [Load(5, IDLE, 2.0), Load(7, IDLE, 9.0)], 3),
        # of several with as few an idle one
        (Load(1, BUSY, 1.0), [Load(1, IDLE, 9.0)], 0),
        (Load(1, IDLE, 9.0), [Load(1, BUSY, 1.0)], 1),
        # of several idle ones who has accepted none for longest
        (Load(0, IDLE, 1.0), [Load(0, IDLE, 2.0)], 1),
        (Load(0, IDLE, 2.0), [Load(0, IDLE, 1.0)], 0),
        # among busy ones an eighth more is as good, whoever was the last
        (Load(4, BUSY, 9.0), [Load(4, BUSY, 1.0)], 1),
        (Load(5, BUSY, 1.0), [Load(4, BUSY, 9.0)], 0),
        (Load(18, BUSY, 9.0), [Load(16, BUSY, 1.0)], 1),
        (Load(19, BUSY, 1.0), [Load(16, BUSY, 9.0)], 0),
        (Load(8, BUSY, 9.0), [Load(16, BUSY, 1.0)], 11),
        (Load(0, BUSY, 9.0), [Load(900, BUSY, 1.0)], ACCEPTED_MOST),
    ],
)
def test_the_least_loaded_accepts(mine: Load, others: list[Load], expected: int) -> None:
    assert share(mine, others) == expected


@pytest.fixture
def seats(tmp_path: Path) -> tuple[Seat, Seat]:
    """Two workers that are ready and alive."""
    board = Scoreboard.create(tmp_path / "scoreboard", MASTER)
    two = tuple(claim(board, slot, generation=1, release="1") for slot in (1, 2))
    for seat in two:
        seat.ready()
        seat.beat()
    return two[0], two[1]


def test_a_worker_sees_the_others_and_not_itself(seats: tuple[Seat, Seat]) -> None:
    one, two = seats
    one.accepted(3, 7.0)
    two.accepted(5, 8.0)
    two.begin_request()
    now = time.monotonic()
    assert one.neighbours(now) == [Load(5, True, 8.0)]
    assert two.neighbours(now) == [Load(3, False, 7.0)]


def test_nobody_yields_to_one_that_does_not_accept(seats: tuple[Seat, Seat]) -> None:
    one, two = seats
    now = time.monotonic()
    assert one.neighbours(now) == []  # it takes no turns: another worker class
    two.accepted(0, 8.0)
    assert one.neighbours(now) != []
    two.drain()
    assert one.neighbours(now) == []


def test_nobody_yields_to_one_that_shows_no_sign_of_life(
    seats: tuple[Seat, Seat], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = seats
    two.accepted(0, 8.0)
    now = time.monotonic()
    assert one.neighbours(now) != []
    monkeypatch.setattr(neighbours, "_SILENT_SECONDS", 0.0)
    assert one.neighbours(now) == []


def test_a_worker_that_comes_later_is_seen(tmp_path: Path) -> None:
    board = Scoreboard.create(tmp_path / "scoreboard", MASTER)
    one = claim(board, 1, generation=1, release="1")
    now = time.monotonic()
    assert one.neighbours(now) == []
    two = claim(board, 2, generation=1, release="1")
    two.ready()
    two.beat()
    two.accepted(0, now)
    assert one.neighbours(now + 1) == [Load(0, False, now)]


def test_with_work_to_do_a_worker_yields_once(seats: tuple[Seat, Seat]) -> None:
    one, two = seats
    now = time.monotonic()
    two.accepted(0, now)
    turn = Turn(one, workers=2)
    turn.accepted(1, now)
    assert [turn.comes(1, now, pending=True) for _ in range(4)] == [0, 1, 0, 1]


def test_without_work_a_worker_waits_for_a_moment_only(seats: tuple[Seat, Seat]) -> None:
    one, two = seats
    now = time.monotonic()
    two.accepted(0, now)
    turn = Turn(one, workers=2)
    turn.accepted(1, now)
    assert turn.comes(1, now, pending=False) == 1


@pytest.mark.parametrize(("workers", "expected"), [(1, ACCEPTED_MOST), (2, 1)])
def test_without_a_scoreboard_the_configuration_says_whether_there_are_others(
    workers: int, expected: int
) -> None:
    assert Turn(None, workers=workers).comes(5, 0.0, pending=False) == expected
