"""How an operation ends: complete, rolled back, failed, interrupted. Nothing runs here but it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.ops import operation
from deploy.ops.change import Expected, Say
from deploy.ops.check import Check
from deploy.ops.directories import Directories
from deploy.ops.errors import LockedError, OperationError
from deploy.ops.interruption import Interrupted, Interruptible
from deploy.ops.operation import InterruptedOperationError, PreflightError, RolledBackError
from deploy.state import ledger, lock

Act = Callable[[], None]


def nothing() -> None:
    pass


def fail() -> None:
    raise OperationError("the door is locked", "open it")


def blunder() -> None:
    raise ZeroDivisionError("a mistake")


def signalled(number: int) -> Act:
    return lambda: os.kill(os.getpid(), number)


class Recorded:
    """A change that tells which of its steps were taken."""

    name = "release 1"
    facts = {"former": "0"}  # noqa: RUF012 - read only

    def __init__(self, *, plan: Act = nothing, carry_out: Act = nothing, revert: Act = nothing):
        self.acts = {"plan": plan, "carry_out": carry_out, "revert": revert}
        self.taken: list[str] = []

    def plan(self) -> list[str]:
        self._take("plan")
        return ["open the door", "go in"]

    def carry_out(self, say: Say) -> None:
        self._take("carry_out")
        say("in")

    def expected(self) -> Expected:
        return Expected()

    def revert(self, say: Say) -> None:
        self._take("revert")
        say("out")

    def _take(self, name: str) -> None:
        self.taken.append(name)
        self.acts[name]()


class Followed(Recorded):
    """A change with something beside the service that follows it."""

    def __init__(self, *, ok: bool):
        super().__init__()
        self.ok = ok

    def follow_up(self, say: Say) -> list[Check]:
        say("who follows?")
        self.taken.append("follow_up")
        return [Check(name="followers", ok=self.ok, detail="all of them")]


@pytest.fixture(autouse=True)
def hangup_is_heard() -> Iterator[None]:
    """Below nohup it is ignored from outside, and would stay so."""
    before = signal.getsignal(signal.SIGHUP)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories(runtime=tmp_path / "run", state=tmp_path / "state", environ={})


def run(
    change: Recorded, directories: Directories, *, dry_run: bool = False, as_json: bool = False
) -> None:
    operation.run(change, directories, why="to see", dry_run=dry_run, as_json=as_json)


def recorded(directories: Directories) -> dict[str, Any]:
    [event] = ledger.read(directories.state, limit=None)
    return event


def test_a_complete_operation_is_in_the_ledger_with_who_why_and_facts(
    directories: Directories, capsys: pytest.CaptureFixture[str]
) -> None:
    change = Recorded()
    run(change, directories)
    assert change.taken == ["plan", "carry_out"]
    first, last = capsys.readouterr().out.splitlines()
    assert first == "in"
    assert last.startswith("Release 1: complete in ")
    event = recorded(directories)
    assert (event["event"], event["name"], event["outcome"]) == ("release", "release 1", "complete")
    assert (event["why"], event["former"], event["checks"]) == ("to see", "0", [])
    assert event["who"]


@pytest.mark.parametrize(
    ("act", "reason"),
    [(fail, "the door is locked"), (blunder, "ZeroDivisionError: a mistake")],
)
def test_a_failure_is_taken_back_and_is_code_4(
    directories: Directories, capsys: pytest.CaptureFixture[str], act: Act, reason: str
) -> None:
    change = Recorded(carry_out=act)
    with pytest.raises(RolledBackError) as raised:
        run(change, directories)
    assert raised.value.exit_code == 4
    assert raised.value.message == (
        f"release 1 was rolled back ({reason}); the former state is back"
    )
    assert change.taken == ["plan", "carry_out", "revert"]
    assert f"Release 1 failed: {reason}" in capsys.readouterr().out
    event = recorded(directories)
    assert (event["outcome"], event["reason"]) == ("rolled back", reason)


def test_what_follows_is_a_check_of_the_operation(directories: Directories) -> None:
    change = Followed(ok=True)
    run(change, directories)
    assert change.taken == ["plan", "carry_out", "follow_up"]
    event = recorded(directories)
    assert event["outcome"] == "complete"
    assert event["checks"] == [{"name": "followers", "ok": True, "detail": "all of them"}]


def test_what_does_not_follow_is_a_reason_to_take_it_back(directories: Directories) -> None:
    change = Followed(ok=False)
    with pytest.raises(RolledBackError, match="not all of it came up: followers: all of them"):
        run(change, directories)
    assert change.taken == ["plan", "carry_out", "follow_up", "revert"]
    assert recorded(directories)["checks"][0]["ok"] is False


def test_what_cannot_be_put_back_is_said_loudly_and_is_code_1(directories: Directories) -> None:
    change = Recorded(carry_out=fail, revert=blunder)
    with pytest.raises(OperationError) as raised:
        run(change, directories)
    assert raised.value.exit_code == 1
    assert raised.value.message == (
        "release 1 failed (the door is locked), AND THE FORMER STATE IS NOT BACK: "
        "ZeroDivisionError: a mistake. Now: nothing runs"
    )
    assert raised.value.next_step
    assert recorded(directories)["outcome"] == "failed"


def test_a_preflight_that_fails_is_code_6_and_changes_nothing(directories: Directories) -> None:
    def refuse() -> None:
        raise PreflightError("it does not load")

    change = Recorded(plan=refuse)
    with pytest.raises(PreflightError) as raised:
        run(change, directories)
    assert raised.value.exit_code == 6
    assert change.taken == ["plan"]
    assert ledger.read(directories.state, limit=None) == []


def test_a_dry_run_says_the_steps_and_takes_neither_lock_nor_step(
    directories: Directories, capsys: pytest.CaptureFixture[str]
) -> None:
    change = Recorded()
    run(change, directories, dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        "Release 1 would:",
        "1. open the door",
        "2. go in",
    ]
    run(change, directories, dry_run=True, as_json=True)
    steps = ["open the door", "go in"]
    assert json.loads(capsys.readouterr().out) == {
        "name": "release 1",
        "dry_run": True,
        "steps": steps,
    }
    assert change.taken == ["plan", "plan"]
    assert not directories.state.exists()


def test_one_operation_at_a_time(directories: Directories) -> None:
    change = Recorded()
    with lock.operation(directories.state, "another"), pytest.raises(LockedError) as raised:
        run(change, directories)
    assert (raised.value.exit_code, change.taken) == (5, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_taken_back_and_is_code_130(directories: Directories, number: int) -> None:
    before = signal.getsignal(number)
    change = Recorded(carry_out=signalled(number), revert=signalled(number))  # in a hurry
    with pytest.raises(InterruptedOperationError) as raised:
        run(change, directories)
    assert raised.value.exit_code == 130
    assert change.taken == ["plan", "carry_out", "revert"]
    assert signal.getsignal(number) == before
    event = recorded(directories)
    assert (event["outcome"], event["reason"]) == ("rolled back", "interrupted")


def test_a_signal_that_comes_early_or_late_is_not_lost() -> None:
    with Interruptible() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            signals.begin()
    with Interruptible() as signals:
        signals.begin()
        signals.defer()
        os.kill(os.getpid(), signal.SIGINT)  # raises nothing


def test_a_signal_that_is_ignored_from_outside_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptible() as signals:
            signals.begin()
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("acts", "outcome", "reason"),
    [
        ({}, "complete", "not running: it holds from the next start on"),
        ({"carry_out": fail}, "rolled back", "the door is locked"),
        ({"carry_out": fail, "revert": fail}, "failed", "not put back"),
        ({"plan": fail}, "failed", "the door is locked"),
    ],
)
def test_json_is_one_object_however_it_ends(
    directories: Directories,
    capsys: pytest.CaptureFixture[str],
    acts: dict[str, Act],
    outcome: str,
    reason: str,
) -> None:
    try:
        run(Recorded(**acts), directories, as_json=True)
    except OperationError:
        assert acts
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == ["name", "outcome", "reason", "checks", "seconds"]
    assert facts["outcome"] == outcome
    assert reason in facts["reason"]
