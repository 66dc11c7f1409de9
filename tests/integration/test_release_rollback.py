"""`rollback release` and its undoing: the two links swapped, without a request lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.drops import Load
from tests.integration.release_room import SICKLY, Room, name

ONE, TWO = name(1), name(2)
RATE = 50
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def released(room: Room) -> None:
    """Release 2 is live, 1 the one before."""
    room.make(2)
    done = room.release(TWO, "--bake", "0")
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_and_back_without_a_request_lost(room: Room) -> None:
    with room.serving() as cluster, Load(f"http://127.0.0.1:{cluster.port}/", rate=RATE) as load:
        released(room)
        back = room.rollback()
        assert back.returncode == 0, back.stdout + back.stderr
        assert room.live == (ONE, TWO)
        assert room.served() == ONE
        assert room.failure(TWO).startswith("rolled back by ")

        forth = room.rollback("--undo")
        assert forth.returncode == 0, forth.stdout + forth.stderr
        assert room.live == (TWO, ONE)
        assert room.served() == TWO
        assert room.marks(TWO) == {"LIVED"}

        again = room.rollback("--undo")
        assert again.returncode == 1
        assert "Error: nothing to undo: the last change of the release was no" in again.stderr
        assert room.live == (TWO, ONE)
    assert load.report.answered > RATE
    assert load.report.failed == 0, load.report
    assert [event["name"] for event in room.history("rollback")] == [
        "rollback release",
        "rollback release --undo",
    ]


def test_after_another_release_there_is_nothing_to_undo(room: Room) -> None:
    with room.serving():
        released(room)
        assert room.rollback().returncode == 0
        assert room.release(TWO, "--bake", "0").returncode == 0
        done = room.rollback("--undo")
        assert done.returncode == 1
        assert "Error: nothing to undo: " in done.stderr


def test_without_a_previous_release_it_stays(room: Room) -> None:
    with room.serving() as cluster:
        before = cluster.pids()
        done = room.rollback()
        assert done.returncode == 1
        assert f"Error: no previous release: {room.installed.root}/previous leads" in done.stderr
        assert cluster.pids() == before


def test_a_previous_release_that_does_not_serve_is_left_again(room: Room) -> None:
    with room.serving() as cluster:
        room.installed.link("previous", room.make(2, SICKLY))
        (cluster.directory / "state" / "ill").touch()
        done = room.rollback()
        assert done.returncode == 4, done.stdout + done.stderr
        assert room.live == (ONE, TWO)
        assert room.served() == ONE
        assert room.marks(ONE) == set()


def test_a_previous_release_without_a_python_is_refused(room: Room) -> None:
    with room.serving():
        room.installed.link("previous", two := room.make(2))
        room.installed.break_python(two)
        done = room.rollback()
        assert done.returncode == 6
        assert f"the previous release, {TWO}, has no Python that finds Gunicorn" in done.stderr
        assert room.live == (ONE, TWO)


def test_a_dry_run_changes_nothing(room: Room) -> None:
    with room.serving() as cluster:
        room.installed.link("previous", room.make(2))
        before = cluster.pids()
        done = room.rollback("--dry-run")
        assert done.returncode == 0, done.stderr
        assert f"1. point {room.installed.root}/current to release {TWO}" in done.stdout
        assert (room.live, cluster.pids()) == ((ONE, TWO), before)
