"""`scale`, against a master that follows, that does not, and that is not there."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from deploy.ops.count import Count
from deploy.ops.scale import settled
from deploy.state import desired
from deploy.state.desired import Desired
from deploy.state.layout import State
from deploy.state.scoreboard import Row
from tests.deploy.test_ops_cluster import DEFAULT, MAX, Place, fake_master
from tests.wait import wait_until


@pytest.mark.parametrize(
    ("words", "said", "kept"),
    [
        (["5"], "Scaled from 3 to 5 workers: 5/5 ready", 5),
        (["+2"], "Scaled from 3 to 5 workers: 5/5 ready", 5),
        (["-1"], "Scaled from 3 to 2 workers: 2/2 ready", 2),
        (["--", "-1"], "Scaled from 3 to 2 workers: 2/2 ready", 2),
        (["-2"], "Scaled from 3 to 1 worker: 1/1 ready", 1),
        (["3"], "Scaled from 3 to 3 workers: 3/3 ready", 3),
        (["max"], f"Scaled from 3 to {MAX} workers: {MAX}/{MAX} ready", "max"),
        (["--reset"], f"Scaled from 3 to {DEFAULT} workers: {DEFAULT}/{DEFAULT} ready", None),
    ],
)
def test_the_cluster_follows_and_the_number_is_kept(
    tmp_path: Path, words: list[str], said: str, kept: int | str | None
) -> None:
    state = Place(tmp_path).state
    desired.write(state, Desired(mode="cluster", workers=9, by="bob"))
    with fake_master(tmp_path) as master:
        done = master.run("scale", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{said}\n"
    asked = desired.read(state)
    assert (asked.mode, asked.workers, asked.by) == ("cluster", kept, "alice")
    assert abs(asked.at - time.time()) < 60


def test_json_is_one_object(tmp_path: Path) -> None:
    with fake_master(tmp_path) as master:
        facts = json.loads(master.run("scale", "-1", "--json").stdout)
    assert facts.pop("seconds") >= 0
    assert facts == {"state": "ready", "before": 3, "workers": 2, "ready": 2, "desired": 2}


def test_reset_to_as_many_as_run_does_not_wait_for_a_change(tmp_path: Path) -> None:
    with fake_master(tmp_path, wanted=DEFAULT) as master:
        done = master.run("scale", "--reset")
    assert done.returncode == 0
    assert done.stdout == f"Scaled from {DEFAULT} to {DEFAULT} workers: {DEFAULT}/{DEFAULT} ready\n"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ("0", "0 workers: expected 1 to 512"),
        ("-3", "3-3 = 0 workers: expected 1 to 512"),
        ("-9", "3-9 = -6 workers: expected 1 to 512"),
        ("513", "513 workers: expected 1 to 512"),
        ("+510", "3+510 = 513 workers: expected 1 to 512"),
    ],
)
def test_a_number_that_may_not_be_is_named(tmp_path: Path, count: str, said: str) -> None:
    with fake_master(tmp_path) as master:
        done = master.run("scale", count)
        assert done.returncode == 2
        assert done.stderr == f"Error: {said}\n"
        assert desired.read(master.place.state) == Desired()
        assert master.board.master().wanted == 3


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["4", "--reset"],
        ["four"],
        ["1.5"],
        ["--bogus"],
        ["4", "5"],
        ["+-1"],
        ["١"],  # a digit, but not ours
        ["4", "--timeout", "0"],
    ],
)
def test_wrong_usage_is_code_2(tmp_path: Path, words: list[str]) -> None:
    done = Place(tmp_path).run("scale", *words)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert desired.read(tmp_path / "state") == Desired()


def test_fork_mode_is_code_2(tmp_path: Path) -> None:
    with fake_master(tmp_path, mode="fork", wanted=1) as master:
        done = master.run("scale", "4")
    assert done.returncode == 2
    assert done.stderr == (
        "Error: fork mode runs one worker: switch to cluster mode first (CLUSTER_MODE=cluster)\n"
    )
    assert Place(tmp_path).run("scale", "4", CLUSTER_MODE="Fork").returncode == 2
    assert desired.read(tmp_path / "state") == Desired()


@pytest.mark.parametrize(
    ("words", "said", "kept"),
    [
        (["4"], "4 workers will be used at the next start", 4),
        (["1"], "1 worker will be used at the next start", 1),
        (["+1"], "3 workers will be used at the next start", 3),
        (["max"], "as many workers as there are CPUs will be used at the next start", "max"),
        (["--reset"], "the environment's number will be used at the next start", None),
    ],
)
def test_a_cluster_that_does_not_run_keeps_the_number(
    tmp_path: Path, words: list[str], said: str, kept: int | str | None
) -> None:
    place = Place(tmp_path)
    desired.write(place.state, Desired(workers=2))
    done = place.run("scale", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"smart-factory is not running: {said}\n"
    assert desired.read(place.state).workers == kept
    facts = json.loads(place.run("scale", *words, "--json").stdout)
    assert (facts["state"], facts["workers"]) == ("stopped", None)


def test_nothing_runs_that_a_change_could_count_from(tmp_path: Path) -> None:
    done = Place(tmp_path).run("scale", "+1")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "Error: smart-factory is not running: +1 counts from the workers that run",
        "Next step: name a number: it will be used at the next start",
    ]


@pytest.mark.parametrize(("scale", "ready"), [("short", 4), ("ignore", 3)])
def test_workers_that_do_not_become_ready_are_code_3(
    tmp_path: Path, scale: str, ready: int
) -> None:
    with fake_master(tmp_path, scale=scale) as master:
        done = master.run("scale", "5", "--timeout", "3")  # the master follows in a moment
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.startswith(f"Error: waited 3 s for 5 workers: {ready} ready\n")
        assert desired.read(master.place.state).workers == 5
        facts = json.loads(master.run("scale", "5", "--timeout", "0.5", "--json").stdout)
        assert (facts["state"], facts["workers"], facts["ready"]) == ("degraded", 5, ready)


def test_damaged_desired_state_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.state.mkdir()
    (place.state / desired.FILE).write_text("{")
    done = place.run("scale", "4")
    assert done.returncode == 1
    error, step = done.stderr.splitlines()
    assert error.startswith(f"Error: {place.state / desired.FILE}: damaged")
    assert step == "Next step: mend or remove the file, then try again"


def test_a_master_that_goes_away_is_code_1(tmp_path: Path) -> None:
    with fake_master(tmp_path, scale="ignore") as master:
        command = master.place.start("scale", "5")
        path = master.place.state / desired.FILE
        wait_until(path.exists, what="the number to be kept")
        master.process.kill()
        master.process.wait()
        _, said = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "went away; the number is kept" in said
    assert desired.read(master.place.state).workers == 5


def test_ctrl_c_keeps_the_number(tmp_path: Path) -> None:
    with fake_master(tmp_path, scale="short") as master:
        command = master.place.start("scale", "5")
        wait_until(lambda: master.board.master().wanted == 5, what="the master to follow")
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
    assert command.returncode == 130
    assert said.splitlines()[0] == (
        "Error: interrupted; the number is kept, and the master goes on"
    )
    assert desired.read(master.place.state).workers == 5


def row(slot: int, state: State) -> Row:
    return Row(
        slot=slot,
        state=state,
        pid=1,
        generation=1,
        release="a",
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


READY, BOOTING, DRAINING = State.READY, State.BOOTING, State.DRAINING


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], (0, False)),
        ([(1, READY)], (1, False)),
        ([(1, READY), (2, BOOTING)], (1, False)),
        ([(1, READY), (2, READY)], (2, True)),
        ([(1, READY), (2, READY), (2, DRAINING)], (2, True)),
        ([(1, READY), (1, READY)], (1, False)),
        ([(1, READY), (3, READY)], (1, False)),
        ([(1, READY), (2, READY), (3, READY)], (2, False)),
        ([(1, READY), (2, READY), (3, BOOTING)], (2, False)),
        ([(1, READY), (2, READY), (3, DRAINING)], (2, True)),
        ([(0, READY), (1, READY), (2, READY)], (2, True)),  # slot 0 is the canary's
    ],
)
def test_two_workers_are_settled_when_both_are_ready_and_none_is_too_many(
    rows: list[tuple[int, State]], expected: tuple[int, bool]
) -> None:
    assert settled(2, [row(slot, state) for slot, state in rows]) == expected


def test_a_count_reads_as_it_was_written() -> None:
    counts = [Count(number=4, relative=False), Count(number=4, relative=True)]
    assert [str(count) for count in counts] == ["4", "+4"]
    assert str(Count(number=-1, relative=True)) == "-1"
