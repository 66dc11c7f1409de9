from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from deploy.cluster.health import Health
from deploy.cluster.worker_handle import WorkerHandle
from deploy.state.scoreboard import Master, Scoreboard

TIMEOUT = 30.0
MASTER = Master(
    pid=1,
    start_ticks=1,
    started=0.0,
    mode="cluster",
    wanted=1,
    generation=1,
    release="2f1c9e",
    app_name="Smart Factory",
    address="127.0.0.1:3000",
)
DOWN = "GET /health/ready answered 503: database is away"


@dataclass
class Canary:
    """As the master sees one: out, then gone with a verdict."""

    gone: bool = False
    passed: bool = False
    failure: str = ""


@dataclass
class Log:
    """What was said: level and event."""

    said: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def _say(self, level: str, text: str, *facts: object, extra: dict[str, Any]) -> None:
        self.said.append((level, extra["event"]))
        self.lines.append(text % facts)

    def info(self, *args: Any, **kwargs: Any) -> None:
        self._say("info", *args, **kwargs)

    def warning(self, *args: Any, **kwargs: Any) -> None:
        self._say("warning", *args, **kwargs)

    def error(self, *args: Any, **kwargs: Any) -> None:
        self._say("error", *args, **kwargs)


class Service:
    """Canaries and a clock for a Health, on a real board."""

    def __init__(self, directory: Path):
        self.board = Scoreboard.create(directory / "scoreboard", MASTER)
        self.log = Log()
        self.health = Health(self.board, self.log)
        self.canaries: list[Canary] = []
        self.now = 1000.0
        self.room = True

    def ask(self) -> WorkerHandle | None:
        if not self.room:
            return None
        self.canaries.append(Canary())
        return cast("WorkerHandle", self.canaries[-1])

    def step(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.health.step(self.now, timeout=TIMEOUT, ask=self.ask)

    def waits(self) -> bool:
        """Whether a canary is out."""
        return self.health.pending

    def hear(self, failure: str = "") -> None:
        """The canary that is out comes back."""
        canary = self.canaries[-1]
        canary.gone, canary.passed, canary.failure = True, not failure, failure
        self.step()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_release_that_passes_is_asked_once_and_nothing_is_said(service: Service) -> None:
    service.step()
    assert service.waits()
    service.step(5)
    assert len(service.canaries) == 1  # one at a time
    service.hear()
    assert not service.waits()
    service.step(1000)
    assert len(service.canaries) == 1
    assert service.log.said == []
    assert service.board.failing == ""


def test_a_release_that_fails_first_is_shown_until_it_passes(service: Service) -> None:
    service.step()
    service.hear(DOWN)
    assert service.board.failing == DOWN
    service.step(0.5)
    assert len(service.canaries) == 1  # not at once
    service.step(0.5)
    assert len(service.canaries) == 2
    service.hear(DOWN)
    service.step(1)
    service.hear()
    assert service.board.failing == ""
    assert service.log.said == [("warning", "probe.failed"), ("info", "probe.passed")]
    assert DOWN in service.log.lines[0]


def test_past_the_timeout_it_is_degraded_which_is_said_once(service: Service) -> None:
    for _ in range(100):
        service.step(1)
        if service.waits():
            service.hear(DOWN)
    assert service.board.failing == DOWN
    assert service.log.said == [("warning", "probe.failed"), ("error", "probe.degraded")]
    assert service.log.lines[1] == f"[Master] Degraded after 30 s: {DOWN}"
    assert 30 < len(service.canaries) < 40  # each second, later each quarter of a minute
    service.step(15)
    service.hear()
    assert service.board.failing == ""
    assert service.log.said[2:] == [("info", "probe.passed")]


def test_a_first_canary_that_is_heard_late_means_degraded_at_once(service: Service) -> None:
    service.step()
    service.step(TIMEOUT)
    service.hear(DOWN)
    assert service.log.said == [("error", "probe.degraded")]
    service.step(15)
    service.hear(DOWN)
    assert len(service.log.said) == 1


def test_the_check_that_fails_now_is_the_one_that_is_shown(service: Service) -> None:
    for failure in (DOWN, "the canary died (signal SIGKILL)"):
        service.step(1)
        service.hear(failure)
        assert service.board.failing == failure


def test_without_room_for_a_canary_it_is_tried_again(service: Service) -> None:
    service.room = False
    service.step()
    assert not service.waits()
    service.room = True
    service.step()
    assert service.waits()


def test_a_candidate_that_has_passed_is_not_asked_again(service: Service) -> None:
    service.step()
    service.hear(DOWN)
    service.step(1)
    service.health.passed()
    assert service.board.failing == ""
    assert not service.waits()
    service.step(100)
    assert len(service.canaries) == 2


def test_another_release_is_asked_anew_with_a_timeout_of_its_own(service: Service) -> None:
    service.step()
    service.hear(DOWN)
    service.step(100)
    service.hear(DOWN)
    assert service.log.said[-1] == ("error", "probe.degraded")
    service.health.restart()
    service.step()
    assert len(service.canaries) == 3
    service.hear(DOWN)
    assert service.log.said[-1] == ("warning", "probe.failed")


def test_a_canary_of_the_former_release_is_not_listened_to(service: Service) -> None:
    service.step()
    old = service.canaries[-1]
    service.health.restart()
    assert not service.waits()
    old.gone, old.failure = True, DOWN
    service.step()
    assert service.waits()
    assert service.board.failing == ""


def test_what_the_former_release_failed_is_not_the_new_ones_failure(service: Service) -> None:
    service.step()
    service.hear(DOWN)
    service.health.restart()
    assert service.board.failing == ""
