"""What a validation makes of what it sees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.ops import check, cpu_check, new_errors, processes_check
from deploy.ops.change import Expected
from deploy.ops.check import Check
from deploy.ops.endpoint import Answer, Headers
from deploy.ops.every_worker import ask_alone, ask_every
from deploy.state import ledger
from deploy.state.layout import State
from deploy.state.scoreboard import Master, Row
from tests.wait import wait_until

READY, BOOTING, DRAINING = State.READY, State.BOOTING, State.DRAINING


def master(*, wanted: int = 2, mode: str = "cluster") -> Master:
    return Master(
        pid=1,
        start_ticks=1,
        started=0.0,
        mode=mode,
        wanted=wanted,
        generation=3,
        release="aaa",
        app_name="Smart Factory",
        address="127.0.0.1:1",
    )


def row(slot: int, state: State, *, release: str = "aaa", generation: int = 3) -> Row:
    return Row(
        slot=slot,
        state=state,
        pid=slot * 10 + generation,
        generation=generation,
        release=release,
        started=0.0,
        ready_after_ms=None,
        requests=0,
        busy=0,
        heartbeat=0.0,
        overdue=0.0,
        restarts=0,
        requests_before=0,
        last_exit=None,
    )


BOTH = [row(1, READY), row(2, READY)]


@pytest.mark.parametrize(
    ("rows", "expected", "wrong"),
    [
        (BOTH, Expected(), ""),
        (BOTH, Expected(workers=2, mode="cluster", release="aaa"), ""),
        (BOTH, Expected(workers=3), "the master wants 2 workers, not 3; 2 of 3 workers ready"),
        (BOTH, Expected(mode="fork"), "the mode is cluster, not fork"),
        (BOTH, Expected(release="bbb"), "the release is aaa, not bbb"),
        (BOTH[:1], Expected(), "1 of 2 workers ready"),
        ([BOTH[0], row(2, BOOTING)], Expected(), "1 of 2 workers ready"),
        (
            [*BOTH, row(2, DRAINING, generation=2)],
            Expected(),
            "worker-2 (pid 22) of generation 2 still drains",
        ),
        ([*BOTH, row(3, READY)], Expected(), "worker-3 (pid 33) is one too many"),
        (
            [BOTH[0], row(2, READY, release="old")],
            Expected(),
            "worker-2 (pid 23) serves release old, not aaa",
        ),
    ],
)
def test_processes_are_the_ones_that_were_asked_for(
    rows: list[Row], expected: Expected, wrong: str
) -> None:
    alive = {each.pid for each in rows}
    assert "; ".join(processes_check.wrong(master(), rows, expected, alive=alive)) == wrong


def test_a_worker_that_is_dead_is_named_though_the_board_says_ready() -> None:
    found = processes_check.wrong(master(), BOTH, Expected(), alive={13})
    assert found == ["1 of 2 workers ready", "worker-2 (pid 23) is dead"]


def test_a_worker_of_another_master_on_the_same_board_is_a_stranger(tmp_path: Path) -> None:
    board = tmp_path / "scoreboard"
    board.write_bytes(bytes(4096))
    code = (
        "import mmap, sys, setproctitle\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "memory = mmap.mmap(file.fileno(), 4096)\n"
        "setproctitle.setproctitle('gunicorn: worker-1 gen 1 release old')\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(board)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        found = wait_until(lambda: processes_check.strangers(tmp_path, set()), what="the stranger")
        who = f"pid {process.pid} (gunicorn: worker-1 gen 1 release old)"
        assert found == [f"{who} is not of this master"]
        assert processes_check.strangers(tmp_path, {process.pid}) == []
        assert processes_check.strangers(tmp_path / "elsewhere", set()) == []


@pytest.mark.parametrize(
    ("used", "ok", "detail"),
    [
        ({}, None, "one worker: nothing to spread"),
        ({"worker-1": 90.0}, None, "one worker: nothing to spread"),
        ({"worker-1": 9.0, "worker-2": 9.0}, None, "too idle to tell (18% of a CPU)"),
        ({"worker-1": 20.0, "worker-2": 30.0}, True, "2 workers at 20% to 30% of a CPU each"),
        ({"worker-1": 57.0, "worker-2": 3.0}, True, "2 workers at 3% to 57% of a CPU each"),
        ({"worker-1": 57.1, "worker-2": 2.9}, False, "worker-2 2.9%, where the mean is 30%"),
    ],
)
def test_work_is_spread_when_no_worker_has_less_than_a_tenth_of_the_mean(
    used: Mapping[str, float], ok: bool | None, detail: str
) -> None:
    assert cpu_check.judge(used) == Check(name="cpu", ok=ok, detail=detail)


def ours(level: str, message: str = "it broke") -> dict[str, str]:
    return {"PRIORITY": "6", "MESSAGE": json.dumps({"level": level, "message": message})}


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (ours("info"), []),
        (ours("warning"), []),
        (ours("error"), ["it broke"]),
        (ours("critical"), ["it broke"]),
        (ours("error", "a\x1b[31m b\nc"), ["a [31m b c"]),
        ({"PRIORITY": "6", "MESSAGE": "Traceback"}, []),
        ({"PRIORITY": "3", "MESSAGE": "Failed with result 'watchdog'."}, ["Failed with result"]),
        ({"PRIORITY": "4", "MESSAGE": "slow"}, []),
        ({"PRIORITY": "6", "MESSAGE": "2026-01-31 12:00:00 ERROR    [47] it broke"}, ["2026"]),
        ({"PRIORITY": "6", "MESSAGE": "2026-01-31 12:00:00 INFO     [47] ERROR"}, []),
        ({"PRIORITY": "6", "MESSAGE": list(json.dumps({"level": "error"}).encode())}, [""]),
        ({"PRIORITY": "6", "MESSAGE": "[1, 2"}, []),
        ({"PRIORITY": "6", "MESSAGE": '["level", "error"]'}, []),
        ({"PRIORITY": "x", "MESSAGE": None}, []),
        ({}, []),
    ],
)
def test_an_entry_is_an_error_by_its_priority_or_by_the_level_in_our_line(
    entry: dict[str, Any], found: list[str]
) -> None:
    said = new_errors.in_entries([entry])
    assert len(said) == len(found)
    assert all(line.startswith(begin) for line, begin in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("event", "facts", "found"),
    [
        (
            "crash",
            {"why": "signal SIGKILL", "worker": "worker-2"},
            "worker-2 crash: signal SIGKILL",
        ),
        ("mold", {"outcome": "lost", "why": "gone"}, "mold lost: gone"),
        ("start", {"outcome": "failed", "why": "no"}, "start failed: no"),
        ("start", {"outcome": "loaded"}, ""),
        ("reload", {"outcome": "refused", "reason": "no"}, "reload refused: no"),
        ("reload", {"outcome": "complete"}, ""),
        ("scale", {"outcome": "taken over"}, ""),
    ],
)
def test_the_ledger_tells_of_crashes_and_refusals_since_the_mark(
    tmp_path: Path, event: str, facts: dict[str, Any], found: str
) -> None:
    ledger.append(tmp_path, event, who="master", **facts)
    old = ledger.read(tmp_path, limit=1)[0] | {"at": "2020-01-01T00:00:00Z"}
    (tmp_path / ledger.FILE).write_text(json.dumps(old) + "\n")
    mark = new_errors.mark("", tmp_path)
    assert new_errors.since(mark, tmp_path).new == []
    ledger.append(tmp_path, event, who="master", **facts)
    assert new_errors.since(mark, tmp_path).new == ([found] if found else [])


def test_what_was_said_shortly_before_the_mark_is_not_new(tmp_path: Path) -> None:
    facts = {"who": "worker", "worker": "worker-2"}
    ledger.append(tmp_path, "crash", why="exit code 3 (pid 4711)", **facts)
    mark = new_errors.mark("", tmp_path)
    ledger.append(tmp_path, "crash", why="exit code 3 (pid 4800)", **facts)
    ledger.append(tmp_path, "crash", why="signal SIGSEGV", **facts)
    errors = new_errors.since(mark, tmp_path)
    assert errors.new == ["worker-2 crash: signal SIGSEGV"]
    assert errors.known >= 1  # the first may be of the mark's own millisecond
    assert errors.journal is False


class Kernel:
    """Gives each request to the next of these workers."""

    def __init__(self, *workers: str, status: Mapping[str, int] | None = None):
        self.turn = deque(workers)
        self.status = status or {}

    def ask(self) -> Answer:
        worker = self.turn[0]
        self.turn.rotate(-1)
        if worker == "nobody":
            raise ConnectionResetError(104, "Connection reset by peer")
        headers = Headers([("X-Worker-ID", worker)] if worker else [])
        return Answer(self.status.get(worker, 200), headers, b"", 0.001)


def judge(answer: Answer) -> str:
    return "" if answer.status == 200 else f"answered {answer.status}"


def nobody() -> set[str]:
    return set()


def test_every_worker_is_asked_until_each_has_answered() -> None:
    kernel = Kernel(*["worker-1"] * 30, "worker-2")
    found = ask_every(kernel.ask, judge, ["worker-1", "worker-2"], counted=nobody)
    assert (found.missing, found.wrong) == ([], "")
    assert found.answers >= 31


def test_a_worker_that_never_answers_is_named() -> None:
    names = ["worker-1", "worker-2"]
    found = ask_every(Kernel("worker-1").ask, judge, names, counted=nobody, seconds=0.1)
    assert (found.missing, found.wrong) == (["worker-2"], "")


def test_one_wrong_answer_ends_the_asking() -> None:
    kernel = Kernel("worker-1", "worker-2", status={"worker-2": 503})
    found = ask_every(kernel.ask, judge, ["worker-1", "worker-2"], counted=nobody)
    assert found.wrong == "worker-2 answered 503"


def test_no_answer_is_a_wrong_one() -> None:
    found = ask_every(Kernel("nobody").ask, judge, ["worker-1"], counted=nobody)
    assert found.wrong == "no answer ([Errno 104] Connection reset by peer)"
    assert ask_alone(Kernel("", "nobody").ask, judge, 5).wrong == found.wrong


def test_an_application_that_does_not_say_who_answers_is_counted_on_the_board() -> None:
    counts = iter([{"worker-1"}] * 20 + [{"worker-1", "worker-2"}] * 99)
    found = ask_every(Kernel("").ask, judge, ["worker-1", "worker-2"], counted=lambda: next(counts))
    assert (found.missing, found.wrong) == ([], "")


def test_a_process_that_is_alone_is_asked_one_by_one() -> None:
    found = ask_alone(Kernel("").ask, judge, 5)
    assert (found.answers, found.missing, found.wrong) == (5, [], "")


def test_a_check_is_one_line_and_what_cannot_be_asked_is_no_failure() -> None:
    checks = [
        Check(name="processes", ok=True, detail="3 of 3"),
        Check(name="session", ok=None, detail="none"),
        Check(name="health", ok=False, detail="500"),
    ]
    assert [str(each) for each in checks] == [
        "ok     processes  3 of 3",
        "-      session    none",
        "FAILED health     500",
    ]
    assert check.reason(checks) == "health: 500"
    assert check.reason(checks[:2]) == ""
