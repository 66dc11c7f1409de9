"""`reload`, against a master that answers in every way."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from deploy.state import request
from deploy.state.layout import Outcome
from tests.deploy.test_ops_cluster import fake_master
from tests.wait import wait_until


def test_a_complete_reload_is_said_in_one_line(tmp_path: Path) -> None:
    with fake_master(tmp_path) as master:
        done = master.run("reload")
        assert done.returncode == 0
        assert done.stdout == "Reload complete: 3/3 on release bbb222 in 1.2 s\n"
        assert done.stderr == ""
        assert re.fullmatch("[0-9a-f]{16}", master.board.reload().request)
        assert not (master.place.runtime / request.FILE).exists()


def test_the_request_says_who_why_and_force(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="never") as master:
        os.kill(master.process.pid, signal.SIGSTOP)  # nobody takes the request
        command = master.place.start("reload", "--force", "--why", "new prices")
        path = master.place.runtime / request.FILE
        wait_until(path.exists, what="a request")
        asked = request.take(master.place.runtime)
        command.kill()
        command.communicate()
    assert asked is not None
    assert (asked.operation, asked.who, asked.why, asked.force) == (
        "reload",
        "alice",
        "new prices",
        True,
    )


def test_a_refused_reload_shows_the_traceback_and_is_code_1(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="refuse") as master:
        done = master.run("reload")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Reload refused: the application does not load: ImportError: no module named 'nope'",
        "Traceback (most recent call last):",
        "ImportError: no module named 'nope'",
        "Still serving release aaa111.",
        "Next step: mend what failed, then reload again",
    ]


@pytest.mark.parametrize(("answer", "code"), [("complete", 0), ("refuse", 1)])
def test_json_is_one_object(tmp_path: Path, answer: str, code: int) -> None:
    with fake_master(tmp_path, reload=answer) as master:
        done = master.run("reload", "--json")
        asked = master.board.reload().request
    facts = json.loads(done.stdout)
    assert done.returncode == code
    assert list(facts) == [
        "outcome",
        "release",
        "reason",
        "traceback",
        "phase",
        "seconds",
        "request",
    ]
    assert facts["outcome"] == {0: "complete", 1: "refused"}[code]
    assert (facts["release"], facts["request"]) == ("bbb222", asked)
    assert ("ImportError" in facts["traceback"]) is (code == 1)
    assert done.stderr == ""


def test_a_running_reload_is_finished_first(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="after_another") as master:
        command = master.place.start("reload")
        record = master.wait_reload_begun()
        assert record.number == 2
        assert command.poll() is None  # the other one's refusal was not taken for ours
        master.go_on()
        said, _ = command.communicate(timeout=60)
    assert command.returncode == 0
    assert said.startswith("Reload complete: ")


def test_the_ledger_tells_when_the_next_reload_has_the_board(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="overtaken") as master:
        done = master.run("reload")
    assert done.returncode == 0
    assert done.stdout.startswith("Reload complete: 3/3 on release bbb222 in ")


def test_a_board_made_anew_is_followed(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="on_a_new_board") as master:
        assert master.run("reload").returncode == 0


@pytest.mark.parametrize("answer", ["die", "another_takes_the_board"])
def test_a_master_that_goes_away_is_code_1(tmp_path: Path, answer: str) -> None:
    with fake_master(tmp_path, reload=answer) as master:
        done = master.run("reload")
        error, step = done.stderr.splitlines()
        assert done.returncode == 1
        pid = master.process.pid
        assert error == f"Error: the master, pid {pid}, went away during the reload"
        assert step.startswith("Next step: ")


def test_a_masters_last_word_counts(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="die_with_a_word") as master:
        done = master.run("reload")
    assert done.returncode == 1
    assert done.stderr.startswith("Reload refused: ")


@pytest.mark.parametrize(
    ("answer", "seconds", "said"),
    [
        ("never", "0.5", "to begin"),
        ("stuck", "3", "to end (last seen: worker-2 of 3)"),  # it takes a moment to answer
    ],
)
def test_no_outcome_in_time_says_what_was_waited_for(
    tmp_path: Path, answer: str, seconds: str, said: str
) -> None:
    with fake_master(tmp_path, reload=answer) as master:
        done = master.run("reload", "--timeout", seconds)
        assert done.returncode == 1
        assert done.stderr.splitlines()[0] == f"Error: waited {seconds} s for the reload {said}"
        done = master.run("reload", "--timeout", seconds, "--json")
        facts = json.loads(done.stdout)
        assert done.returncode == 1
        assert (facts["outcome"], facts["reason"]) == (
            "unknown",
            f"waited {seconds} s for the reload {said}",
        )


def test_ctrl_c_leaves_the_reload_going(tmp_path: Path) -> None:
    with fake_master(tmp_path, reload="held") as master:
        command = master.place.start("reload")
        master.wait_reload_begun()
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
        assert command.returncode == 130
        assert said.splitlines()[0] == "Error: interrupted; the reload goes on"
        master.go_on()
        wait_until(
            lambda: master.board.reload().outcome == Outcome.COMPLETE, what="the end of the reload"
        )


def test_progress_is_one_line_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    seen = b""
    with fake_master(tmp_path, reload="held") as master:
        command = master.place.start("reload", stderr=theirs)
        os.close(theirs)
        while not re.search(rb"Reload: worker-2 of 3, \d+\.\d s", seen):
            seen += os.read(ours, 1024)
        master.go_on()
        said, _ = command.communicate(timeout=60)
    os.close(ours)
    assert said.startswith("Reload complete: ")
    assert b"\n" not in seen
    assert b"\r\033[KReload: " in seen
