from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.state.layout import ROWS, SLOTS_MAX, State
from deploy.state.scoreboard import Exit, Master, Scoreboard, ScoreboardError

MASTER = Master(
    pid=4711,
    start_ticks=99,
    started=1_700_000_000.5,
    mode="cluster",
    wanted=3,
    generation=1,
    release="2f1c9e",
    app_name="Smart Factory",
    address="127.0.0.1:3000",
)


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    return Scoreboard.create(tmp_path / "scoreboard", MASTER)


def test_a_reader_sees_what_master_and_worker_wrote(board: Scoreboard) -> None:
    reader = Scoreboard.open(board.path)
    assert reader.master() == MASTER
    assert reader.rows() == []

    seat = board.claim(2, generation=1, release="2f1c9e")
    (row,) = reader.rows()
    assert (row.name, row.state, row.pid, row.ready_after_ms) == (
        "worker-2",
        State.BOOTING,
        0,
        None,
    )

    seat.occupy(1234)
    seat.ready()
    seat.begin_request()
    (row,) = reader.rows()
    assert (row.pid, row.state, row.requests, row.busy) == (1234, State.READY, 0, 1)
    assert row.ready_after_ms is not None
    assert row.ready_after_ms < 10_000
    assert abs(row.started - time.time()) < 60

    seat.end_request()
    seat.drain()
    (row,) = reader.rows()
    assert (row.state, row.requests, row.busy) == (State.DRAINING, 1, 0)

    board.vacate(seat)
    assert reader.rows() == []


def test_a_slot_keeps_its_history_when_its_worker_is_gone(board: Scoreboard) -> None:
    first = board.claim(1, generation=1, release="a")
    for _ in range(5):
        first.begin_request()
        first.end_request()
    board.record_exit(1, Exit(at=12.5, pid=77, reason="signal SIGKILL"), restarted=True)
    board.vacate(first)

    board.claim(1, generation=1, release="b")
    (row,) = board.rows()
    assert (row.restarts, row.requests, row.requests_before) == (1, 0, 5)
    assert row.last_exit == Exit(at=12.5, pid=77, reason="signal SIGKILL")


def test_old_and_new_worker_of_a_slot_stand_side_by_side(board: Scoreboard) -> None:
    old = board.claim(1, generation=1, release="a")
    old.drain()
    after = replace(MASTER, generation=2, release="b", wanted=5)
    board.describe(after)
    board.claim(1, generation=2, release="b").ready()

    new, former = board.rows()
    assert (new.generation, new.state, new.release) == (2, State.READY, "b")
    assert (former.generation, former.state, former.release) == (1, State.DRAINING, "a")
    assert Scoreboard.open(board.path).master() == after


def test_a_worker_in_another_process_is_seen(board: Scoreboard) -> None:
    seat = board.claim(1, generation=1, release="a")
    pid = os.fork()
    if pid == 0:
        seat.occupy(os.getpid())
        seat.ready()
        os._exit(0)
    os.waitpid(pid, 0)
    (row,) = board.rows()
    assert (row.pid, row.state) == (pid, State.READY)


def test_no_request_is_lost_between_threads(board: Scoreboard) -> None:
    seat = board.claim(1, generation=1, release="a")

    def answer_many() -> None:
        for _ in range(2_000):
            seat.begin_request()
            seat.end_request()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(answer_many) for _ in range(8)]:
            done.result()
    (row,) = board.rows()
    assert (row.requests, row.busy) == (16_000, 0)


def test_long_names_are_cut_between_characters(tmp_path: Path) -> None:
    board = Scoreboard.create(tmp_path / "scoreboard", MASTER)
    board.claim(1, generation=1, release="é" * 50)
    (row,) = board.rows()
    assert row.release == "é" * 32


def test_a_full_board_still_gives_a_seat_that_nobody_sees(board: Scoreboard) -> None:
    for number in range(ROWS):
        board.claim(number % SLOTS_MAX + 1, generation=1, release="a")
    extra = board.claim(1, generation=1, release="a")
    beyond = board.claim(SLOTS_MAX + 1, generation=1, release="a")
    for seat in (extra, beyond):
        seat.ready()
        seat.begin_request()
        assert seat.state == State.READY
        board.record_exit(seat.slot, Exit(at=1.0, pid=1, reason="exit code 0"), restarted=False)
        board.vacate(seat)
    assert len(board.rows()) == ROWS


def test_a_new_master_replaces_the_board_and_the_old_one_leaves_it(board: Scoreboard) -> None:
    successor = Scoreboard.create(board.path, MASTER)
    board.remove()
    assert board.path.exists()
    successor.remove()
    assert not board.path.exists()
    successor.remove()


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * 1_000_000])
def test_a_file_that_is_no_board_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scoreboard"
    path.write_bytes(content)
    with pytest.raises(ScoreboardError):
        Scoreboard.open(path)


def test_no_board_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Scoreboard.open(tmp_path / "scoreboard")
