"""Consumers' units: which follow a release, and which of them speak against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from app.consumers import pipeline
from deploy.ops.consumer_unit import NAMES, PROGRAM, Unit, fallen, good
from tests.cluster import ROOT

RUNNING = {
    "Id": "smart-factory-consumer@purchase.service",
    "ActiveState": "active",
    "MainPID": "70",
    "ExecMainPID": "70",
    "ExecMainCode": "0",
    "ExecMainStatus": "0",
    "UnitFileState": "enabled",
    "ConditionResult": "yes",
    "ConditionTimestampMonotonic": "13546596567",
    "WorkingDirectory": "/opt/smart-factory/current",
}
STOPPED = {**RUNNING, "ActiveState": "inactive", "MainPID": "0", "ExecMainCode": "1"}
SKIPPED = {**STOPPED, "ConditionResult": "no"}
CRASHED = {**STOPPED, "ActiveState": "activating", "ExecMainStatus": "1"}
PURCHASE = Unit(name="purchase", pid=70)


def test_everybody_means_the_same_consumers() -> None:
    assert NAMES == pipeline.NAMES
    script = (ROOT / "deploy" / "scripts" / "install.sh").read_text()
    assert f"CONSUMERS=({' '.join(NAMES)})" in script
    unit = (ROOT / "systemd" / "smart-factory-consumer@.service").read_text()
    assert f"ConditionPathExists=/opt/smart-factory/current/{PROGRAM}\n" in unit
    assert (ROOT / PROGRAM).is_file()


@pytest.mark.parametrize(
    ("facts", "there", "follows"),
    [
        (RUNNING, True, True),
        (RUNNING, False, True),  # it must not go on with a release that is not there any more
        (CRASHED, True, True),
        (STOPPED, True, False),  # an operator's will
        ({**STOPPED, "ActiveState": "failed", "ExecMainStatus": "2"}, True, False),
        (SKIPPED, True, True),
        (SKIPPED, False, False),
        ({**SKIPPED, "UnitFileState": "disabled"}, True, False),
        ({**SKIPPED, "ConditionTimestampMonotonic": "0"}, True, False),  # was never started
    ],
)
def test_what_runs_follows_and_what_was_stopped_stays_so(
    facts: Mapping[str, str], there: bool, follows: bool
) -> None:
    assert Unit.read(facts).to_restart(there=there) is follows


def test_how_a_process_ended_is_said() -> None:
    assert Unit.read(RUNNING).name == "purchase"
    assert Unit.read(CRASHED).end == "exit code 1"
    assert Unit.read({**CRASHED, "ExecMainCode": "2", "ExecMainStatus": "9"}).end == "signal 9"


@pytest.mark.parametrize(
    ("before", "now", "blamed"),
    [
        (PURCHASE, PURCHASE, False),
        (PURCHASE, replace(PURCHASE, pid=71), True),  # started again meanwhile
        (PURCHASE, Unit.read(CRASHED), True),
        (PURCHASE, replace(PURCHASE, state="failed", pid=0), True),
        (PURCHASE, Unit.read(SKIPPED), False),
        (Unit.read(SKIPPED), Unit.read(CRASHED), True),
        (Unit.read(CRASHED), Unit.read(CRASHED), False),  # as before
    ],
)
def test_who_ends_after_the_restart_speaks_against_the_release(
    before: Unit, now: Unit, blamed: bool
) -> None:
    assert [unit.name for unit in fallen([before], [PURCHASE], [now])] == ["purchase"] * blamed


def test_what_became_of_each_is_one_line() -> None:
    crashing = replace(Unit.read(CRASHED), name="session")
    before = [PURCHASE, replace(PURCHASE, name="cache"), crashing]
    check = good(before, [PURCHASE], [PURCHASE, crashing])
    assert (check.ok, check.detail) == (
        True,
        "restarted: purchase; failing as before: session; not in this release: cache",
    )
    check = good([PURCHASE], [], [Unit.read(SKIPPED)])
    assert (check.ok, check.detail) == (None, "not in this release: purchase")
