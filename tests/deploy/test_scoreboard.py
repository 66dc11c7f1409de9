from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.state.layout import EXITS_KEPT, ROWS, SLOTS_MAX, Outcome, State
from deploy.state.reload_record import NEVER
from deploy.state.scoreboard import Master, Scoreboard, ScoreboardError
from deploy.state.seat import Seat
from deploy.state.slot_record import Exit, FailedBoot

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


def claim(board: Scoreboard, slot: int, *, generation: int, release: str) -> Seat:
    """A seat on a board that has room."""
    seat = board.claim(slot, generation=generation, release=release)
    assert seat is not None
    return seat


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    return Scoreboard.create(tmp_path / "scoreboard", MASTER)


def test_a_reader_sees_what_master_and_worker_wrote(board: Scoreboard) -> None:
    reader = Scoreboard.open(board.path)
    assert reader.master() == MASTER
    assert reader.rows() == []

    seat = claim(board, 2, generation=1, release="2f1c9e")
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
    first = claim(board, 1, generation=1, release="a")
    for _ in range(5):
        first.begin_request()
        first.end_request()
    board.slot(1).add_exit(Exit(at=12.5, pid=77, reason="signal SIGKILL"), restarted=True)
    board.vacate(first)

    claim(board, 1, generation=1, release="b")
    (row,) = board.rows()
    assert (row.restarts, row.requests, row.requests_before) == (1, 0, 5)
    assert row.last_exit == Exit(at=12.5, pid=77, reason="signal SIGKILL")


def test_old_and_new_worker_of_a_slot_stand_side_by_side(board: Scoreboard) -> None:
    old = claim(board, 1, generation=1, release="a")
    old.drain()
    after = replace(MASTER, generation=2, release="b", wanted=5)
    board.describe(after)
    claim(board, 1, generation=2, release="b").ready()

    new, former = board.rows()
    assert (new.generation, new.state, new.release) == (2, State.READY, "b")
    assert (former.generation, former.state, former.release) == (1, State.DRAINING, "a")
    assert Scoreboard.open(board.path).master() == after


def test_a_worker_in_another_process_is_seen(board: Scoreboard) -> None:
    seat = claim(board, 1, generation=1, release="a")
    pid = os.fork()
    if pid == 0:
        seat.occupy(os.getpid())
        seat.ready()
        os._exit(0)
    os.waitpid(pid, 0)
    (row,) = board.rows()
    assert (row.pid, row.state) == (pid, State.READY)


def test_no_request_is_lost_between_threads(board: Scoreboard) -> None:
    seat = claim(board, 1, generation=1, release="a")

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
    claim(board, 1, generation=1, release="é" * 50)
    (row,) = board.rows()
    assert row.release == "é" * 32


def test_a_full_board_gives_no_seat_until_one_is_vacated(board: Scoreboard) -> None:
    seats = [board.claim(n % SLOTS_MAX + 1, generation=1, release="a") for n in range(ROWS)]
    assert board.claim(1, generation=1, release="a") is None
    assert len(board.rows()) == ROWS
    assert seats[7] is not None
    board.vacate(seats[7])
    assert board.claim(1, generation=1, release="a") is not None


def test_a_slot_keeps_its_last_exits_and_its_last_failed_boot(board: Scoreboard) -> None:
    record = board.slot(SLOTS_MAX)
    assert (record.exits, record.failed_boot, record.restarts) == ([], None, 0)
    for number in range(EXITS_KEPT + 3):
        record.add_exit(
            Exit(at=float(number), pid=number, reason=f"exit code {number}"), restarted=True
        )
    record.add_failed_boot(FailedBoot(at=7.5, traceback="é" * 5000 + "the end"))

    seen = Scoreboard.open(board.path).slot(SLOTS_MAX)
    assert [exit_.pid for exit_ in seen.exits] == list(range(EXITS_KEPT + 2, 2, -1))
    assert seen.restarts == EXITS_KEPT + 3
    failed = seen.failed_boot
    assert failed is not None
    assert failed.traceback.endswith("éééthe end")
    record.add_failed_boot(FailedBoot(at=8.5, traceback="short"))
    assert seen.failed_boot == FailedBoot(at=8.5, traceback="short")
    assert board.slot(1).exits == []


def test_a_reload_is_described_whole(board: Scoreboard) -> None:
    reader = Scoreboard.open(board.path)
    assert reader.reload().outcome == Outcome.NONE
    running = replace(NEVER, number=1, outcome=Outcome.RUNNING, started=5.5, request="abc")
    board.describe_reload(replace(running, phase="worker-2 of 4"))
    assert reader.reload().phase == "worker-2 of 4"
    refused = replace(
        running, outcome=Outcome.REFUSED, ended=6.5, reason="import error", traceback="Trace…"
    )
    board.describe_reload(refused)
    assert reader.reload() == refused


def test_the_master_names_the_check_that_fails(board: Scoreboard) -> None:
    reader = Scoreboard.open(board.path)
    assert reader.failing == ""
    board.fail("GET /health/ready answered 503")
    assert reader.failing == "GET /health/ready answered 503"
    board.fail("")
    assert reader.failing == ""


def test_a_board_passed_on_as_a_descriptor_is_the_same_board(board: Scoreboard) -> None:
    seat = claim(board, 3, generation=2, release="a")
    assert seat is not None
    other = Scoreboard.attach(os.dup(board.descriptor), board.path)
    theirs = other.seat(seat.offset, slot=3, generation=2, born=seat.born)
    theirs.occupy(42)
    theirs.beat()
    theirs.begin_request()
    assert theirs.oldest_request() is not None
    theirs.mark_overdue(12.5)
    theirs.ready()
    (row,) = board.rows()
    assert (row.pid, row.state, row.busy, row.overdue) == (42, State.READY, 1, 12.5)
    assert 0 < seat.heartbeat <= time.monotonic()
    theirs.end_request()
    assert theirs.oldest_request() is None


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
