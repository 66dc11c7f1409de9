from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cluster.notify import Facts, Notifier, Said, Sender, owed, status
from deploy.cluster.supervisor import Supervisor
from deploy.state.layout import Outcome
from deploy.state.reload_record import NEVER, Reload
from tests.systemd import notifications
from tests.wait import wait_until

UP = Facts(ready=3, wanted=3, mode="cluster", release="2f1c9e")
KNOWN = Said(ready=True, reload=1)


def reload(number: int, outcome: Outcome, *, phase: str = "", reason: str = "") -> Reload:
    return replace(NEVER, number=number, outcome=outcome, phase=phase, reason=reason)


def during(number: int) -> Facts:
    return replace(UP, reload=reload(number, Outcome.RUNNING))


def after(number: int) -> Facts:
    return replace(UP, reload=reload(number, Outcome.COMPLETE))


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (UP, "3/3 ready · cluster · release 2f1c9e"),
        (replace(UP, ready=1), "1/3 ready · cluster · release 2f1c9e"),
        (replace(UP, failing="no\ndatabase"), "{} · degraded: no database"),
        (replace(UP, reload=reload(1, Outcome.COMPLETE)), "{}"),
        (replace(UP, reload=reload(1, Outcome.RUNNING, phase="canary")), "{} · reloading: canary"),
        (
            replace(UP, reload=reload(1, Outcome.REFUSED, reason="503")),
            "{} · last reload refused: 503",
        ),
        (
            replace(UP, failing="503", reload=reload(2, Outcome.RUNNING, phase="canary")),
            "{} · degraded: 503 · reloading: canary",
        ),
    ],
)
def test_the_status_is_one_line(facts: Facts, line: str) -> None:
    assert status(facts) == line.format("3/3 ready · cluster · release 2f1c9e")


def test_the_status_has_a_length_that_fits_a_terminal() -> None:
    line = status(replace(UP, failing="no " * 1000))
    assert len(line) == 240
    assert line.endswith("…")


@pytest.mark.parametrize(
    ("said", "facts", "message", "then"),
    [
        (Said(), replace(UP, ready=2), None, None),
        (Said(), replace(UP, ready=0, wanted=0), None, None),
        (Said(), UP, "READY=1", Said(ready=True)),
        # A reload that began before the service was ready begins for systemd after that.
        (Said(), replace(during(1), ready=2), None, None),
        (Said(), during(1), "READY=1", Said(ready=True, reload=0)),
        (Said(), after(1), "READY=1", Said(ready=True, reload=1)),
        (KNOWN, after(1), None, None),
        (KNOWN, replace(after(1), ready=0), None, None),
        (KNOWN, during(2), "RELOADING=1", Said(ready=True, reloading=True, reload=2)),
        # One that is refused at once is told all the same: who asked for it waits for its end.
        (KNOWN, after(2), "RELOADING=1", Said(ready=True, reloading=True, reload=2)),
        (Said(ready=True, reloading=True, reload=2), during(2), None, None),
        (Said(ready=True, reloading=True, reload=2), after(2), "READY=1", replace(KNOWN, reload=2)),
        (
            Said(ready=True, reloading=True, reload=2),
            during(3),
            "READY=1",
            replace(KNOWN, reload=2),
        ),
    ],
)
def test_each_change_of_state_is_owed_once(
    said: Said, facts: Facts, message: str | None, then: Said | None
) -> None:
    assert owed(said, facts) == (None if message is None else (message, then))


class Recorder(Sender):
    """A sender that keeps what it is given, while it can."""

    def __init__(self) -> None:
        super().__init__("/recorder")
        self.sent: list[tuple[str, ...]] = []
        self.full = False

    def send(self, *lines: str) -> bool:
        if not self.full:
            self.sent.append(lines)
        return not self.full


def test_a_status_that_changes_often_is_told_once_a_second_and_its_last_form_always() -> None:
    sender = Recorder()
    notifier = Notifier(sender)
    for now, ready in ((10.0, 0), (10.1, 1), (10.2, 2), (10.9, 1), (11.0, 1), (11.1, 1)):
        notifier.step(now, replace(UP, ready=ready))
    assert sender.sent == [
        ("STATUS=0/3 ready · cluster · release 2f1c9e",),
        ("STATUS=1/3 ready · cluster · release 2f1c9e",),
    ]


def test_a_change_of_state_does_not_wait_and_tells_the_status_with_it() -> None:
    sender = Recorder()
    notifier = Notifier(sender)
    notifier.step(10.0, replace(UP, ready=2))
    notifier.step(10.1, UP)
    notifier.step(10.2, after(1))
    line = "STATUS=3/3 ready · cluster · release 2f1c9e"
    assert sender.sent[1:] == [
        ("READY=1", line),
        ("RELOADING=1", "MONOTONIC_USEC=10200000", line),
        ("READY=1", line),
    ]


def test_what_could_not_be_handed_over_is_said_later() -> None:
    sender = Recorder()
    notifier = Notifier(sender)
    known = []
    for now, full in ((10.0, True), (10.1, False), (10.2, False)):
        sender.full = full
        notifier.step(now, UP)
        known.append(notifier.ready)
    assert known == [False, True, True]
    assert [lines[0] for lines in sender.sent] == ["READY=1"]


@pytest.mark.parametrize("path", ["", "vsock:2:1", "/nowhere/at/all"])
def test_nobody_to_tell_is_no_error(path: str) -> None:
    assert not Sender(path).send("READY=1")


def test_a_socket_that_nobody_reads_does_not_block(tmp_path: Path) -> None:
    with notifications(tmp_path / "notify") as systemd:
        sender = Sender(systemd.path)
        systemd.pause()
        sent = 0
        while sender.send("STATUS=" + "x" * 1000):
            sent += 1
        assert sent < 100_000
        systemd.go_on()
        wait_until(lambda: len(systemd.lines()) == sent, what="all that was sent")


def test_the_supervisors_variables_are_taken_out_of_the_environment(tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "x", "WATCHDOG_PID": "1", "A": "1"}
    Supervisor(environ, 1, None)
    assert environ == {"A": "1"}
