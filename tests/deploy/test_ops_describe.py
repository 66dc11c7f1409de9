"""`describe`: one slot, in every condition."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.state.scoreboard import Scoreboard
from deploy.state.slot_record import Exit, FailedBoot
from tests.deploy.test_ops_cluster import FakeMaster, fake_master


def writable(master: FakeMaster) -> Scoreboard:
    """The stand-in's board, to write to."""
    path = master.place.runtime / "scoreboard"
    with path.open("r+b") as file:
        return Scoreboard.attach(os.dup(file.fileno()), path)


@pytest.mark.parametrize("name", ["2", "worker-2", "02"])
def test_a_slot_is_shown_with_its_worker(tmp_path: Path, name: str) -> None:
    with fake_master(tmp_path) as master:
        done = master.run("describe", name)
        assert (done.returncode, done.stderr) == (0, "")
        title, *page = done.stdout.splitlines()
        pid = master.process.pid
    assert title == "worker-2  ready  0 restarts · 0 requests, 0 of them by former workers"
    lines = [" ".join(line.split()) for line in page]
    assert f"pid {pid}" in lines
    assert "release aaa111" in lines
    assert "requests 0 answered, 0 in flight" in lines
    for pattern in (
        r"uptime \d+s, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
        r"ready after \d+ ms",
        r"heartbeat \d+\.\d s ago",
        r"cpu \d+%",
        r"memory [\d.]+M rss, [\d.]+M pss",
        r"threads \d+",
        r"open files \d+",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    assert "overdue" not in done.stdout
    assert "\033" not in done.stdout


def test_what_happened_to_the_slot_is_told(tmp_path: Path) -> None:
    with fake_master(tmp_path, rows=[[2, "draining"]]) as master:
        board = writable(master)
        record = board.slot(2)
        record.add_exit(Exit(at=1e9, pid=77, reason="signal SIGKILL"), restarted=True)
        record.add_exit(Exit(at=1e9 + 60, pid=78, reason="exit code 3"), restarted=True)
        record.add_failed_boot(FailedBoot(at=1e9, traceback="Traceback\nImportError: [nope]\n"))
        record.add_requests(41)
        page = master.run("describe", "2").stdout
        facts = json.loads(master.run("describe", "2", "--json").stdout)
    assert "2 restarts · 41 requests, 41 of them by former workers" in page
    assert re.search(r"2001-09-09 01:47:40 +78 +exit code 3 *\n2001-09-09 01:46:40 +77 +sig", page)
    assert "last failed boot, 2001-09-09 01:46:40\nTraceback\nImportError: [nope]\n" in page
    assert [worker["state"] for worker in facts["workers"]] == ["draining", "ready"]
    assert (facts["worker"], facts["slot"], facts["state"]) == ("worker-2", 2, "ready")
    assert (facts["restarts"], facts["requests_before"], facts["requests_total"]) == (2, 41, 41)
    assert facts["exits"] == [
        {"at": 1e9 + 60, "pid": 78, "reason": "exit code 3"},
        {"at": 1e9, "pid": 77, "reason": "signal SIGKILL"},
    ]
    assert facts["failed_boot"] == {"at": 1e9, "traceback": "Traceback\nImportError: [nope]\n"}
    for worker in facts["workers"]:
        assert worker["pid"] == master.process.pid
        assert 0 < worker["pss"] <= worker["rss"]
        assert worker["threads"] >= 1
        assert worker["open_files"] >= 1
        assert 0 <= worker["heartbeat_age_s"] < 60
        assert worker["overdue_s"] is None


def test_a_request_over_its_time_is_told(tmp_path: Path) -> None:
    with fake_master(tmp_path, rows=[[4, "booting"]]) as master:
        board = writable(master)
        seat = board.claim(4, generation=2, release="bbb222")
        assert seat is not None
        seat.begin_request()
        seat.mark_overdue(time.monotonic() - 125)
        done = master.run("describe", "worker-4", "--interval", "0")
        newest, booting = json.loads(master.run("describe", "4", "--json").stdout)["workers"]
    assert done.returncode == 0
    assert re.search(r"overdue +a request has been running for 2m \d+s *\n", done.stdout)
    assert re.search(r"heartbeat +none yet *\n", done.stdout)
    assert 125 <= newest["overdue_s"] < 185
    assert (newest["pid"], newest["rss"], newest["busy"]) == (None, None, 1)
    assert (booting["ready_after_ms"], booting["generation"]) == (None, 1)


def test_a_slot_without_a_worker_is_code_3_but_shown(tmp_path: Path) -> None:
    with fake_master(tmp_path, scale="ignore") as master:
        board = writable(master)
        board.slot(4).add_exit(Exit(at=1e9, pid=77, reason="exit code 3"), restarted=False)
        board.describe(replace(board.master(), wanted=4))
        done = master.run("describe", "4")
        facts = json.loads(master.run("describe", "4", "--json").stdout)
    assert done.returncode == 3
    assert done.stdout.startswith("worker-4  down  0 restarts")
    assert "exit code 3" in done.stdout
    assert (facts["state"], facts["workers"]) == ("down", [])


def test_a_surplus_worker_that_drains_is_shown(tmp_path: Path) -> None:
    with fake_master(tmp_path, rows=[[5, "draining"]]) as master:
        done = master.run("describe", "5")
    assert done.returncode == 0
    assert done.stdout.startswith("worker-5  draining  ")


@pytest.mark.parametrize("name", ["4", "0", "worker-0", "-1", "two", "worker-", "99999", "2 "])
def test_an_unknown_slot_is_code_2(tmp_path: Path, name: str) -> None:
    with fake_master(tmp_path, rows=[[0, "ready"]]) as master:
        done = master.run("describe", "--", name)
    assert done.returncode == 2
    error, step = done.stderr.splitlines()
    assert error == f"Error: {name!r}: expected worker-1 to worker-3, or 1 to 3"
    assert step.startswith("Next step: ")
