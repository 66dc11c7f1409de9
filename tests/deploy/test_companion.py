"""When consumers go with a start, and when the next ones are due; with processes of its own.

Beside a real master they are tested in `tests/integration/test_companion.py`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster.companion import Companion, has_consumers
from deploy.cluster.generation import Generation
from deploy.cluster.launch import Launch
from deploy.cluster.settings import Settings
from tests.integration import own_application
from tests.wait import wait_until

DATABASE = "DATABASE_URL=postgresql://127.0.0.1:1/none"
LATER = 3600.0  # seconds: after every pause


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: object, extra: object) -> None:
        assert extra
        self.lines.append(text % values)

    error = warning = info


def generation(
    directory: Path,
    *raw_env: str,
    number: int = 1,
    application: str = "gunicorn",  # Gunicorn's word for: no argument
    environ: dict[str, str] | None = None,
) -> Generation:
    given = {"NOTES": str(directory), **(environ or {})}
    return Generation(
        number=number,
        settings=Settings.read(given, cpus=2),
        config={
            "chdir": str(directory),
            "raw_env": list(raw_env),
            "wsgi_app": given.get("WSGI_APP", "app.wsgi:app"),
            "default_proc_name": application,
        },
        launch=Launch(python=Path("python"), arguments=(), directory=directory, environ=given),
    )


def wait_reaped(companion: Companion, log: Log) -> None:
    """Tells it of the end of those that were started last, as the master does."""
    (pid,) = map(int, re.findall(r"\(pid (\d+)\)", log.lines[-1]))

    def ended() -> tuple[int, int] | None:
        found = os.waitpid(pid, os.WNOHANG)
        return found if found[0] else None

    found = wait_until(ended, what="the consumers' end")
    assert found is not None
    assert companion.reaped(*found)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def companion(log: Log) -> Iterator[Companion]:
    companion = Companion(log)
    yield companion
    companion.stop()


@pytest.mark.parametrize(
    ("environ", "application", "expected"),
    [
        ({}, "gunicorn", True),
        ({}, "app.wsgi:app", True),
        ({}, "other:app", False),
        ({"WSGI_APP": "other:app"}, "gunicorn", False),
        ({"WSGI_APP": "other:app"}, "app.wsgi:app", True),
        ({"APP_ENV": "test"}, "gunicorn", False),
        ({"APP_ENV": "production"}, "gunicorn", False),
        ({"DEVELOPMENT_CONSUMERS": "off"}, "gunicorn", False),
    ],
)
def test_they_go_with_our_own_application_in_development(
    tmp_path: Path, environ: dict[str, str], application: str, expected: bool
) -> None:
    own_application.write(tmp_path, "")
    assert (
        has_consumers(generation(tmp_path, DATABASE, application=application, environ=environ))
        is expected
    )


def test_they_need_a_database_wherever_its_url_is_said(tmp_path: Path) -> None:
    own_application.write(tmp_path, "")
    name, _, url = DATABASE.partition("=")
    assert not has_consumers(generation(tmp_path))
    assert not has_consumers(generation(tmp_path, "DATABASE_URL="))
    assert has_consumers(generation(tmp_path, environ={name: url}))


def test_a_release_that_brings_none_has_none(
    tmp_path: Path, companion: Companion, log: Log
) -> None:
    own_application.write(tmp_path)
    companion.step(time.monotonic(), generation(tmp_path, DATABASE))
    assert log.lines == []


def test_the_next_ones_wait_until_the_pause_is_over(
    tmp_path: Path, companion: Companion, log: Log
) -> None:
    own_application.write(tmp_path, "sys.exit(5)\n")
    served = generation(tmp_path, DATABASE)
    for _ in range(2):  # the first death costs no pause
        companion.step(time.monotonic() + LATER, served)
        wait_reaped(companion, log)
    companion.step(time.monotonic() - LATER, served)  # before the pause's end
    assert len(log.lines) == 4
    assert log.lines[-1] == "[Master] Consumers died (exit code 5). Restarting in 0.1 s"
    companion.step(time.monotonic() + LATER, served)
    assert len(log.lines) == 5


def test_another_release_is_given_its_chance_at_once(
    tmp_path: Path, companion: Companion, log: Log
) -> None:
    own_application.write(tmp_path, "sys.exit(5)\n")
    for _ in range(3):
        companion.step(time.monotonic() + LATER, generation(tmp_path, DATABASE))
        wait_reaped(companion, log)
    companion.step(time.monotonic() - LATER, generation(tmp_path, DATABASE, number=2))
    assert log.lines[-1].startswith("[Master] Consumers started")


def test_nothing_starts_before_something_serves(companion: Companion, log: Log) -> None:
    companion.step(time.monotonic(), None)
    assert log.lines == []


def test_an_interpreter_that_is_gone_is_a_death_like_others(
    tmp_path: Path, companion: Companion, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_application.write(tmp_path, "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    now = time.monotonic()
    companion.step(now, generation(tmp_path, DATABASE))
    companion.step(now, generation(tmp_path, DATABASE))
    said = "[Master] Consumers do not start (No such file or directory). Restarting"
    assert log.lines[0] == f"{said}..."
    companion.step(now + LATER, generation(tmp_path, DATABASE))
    assert log.lines[-1].startswith(said)


def test_another_child_is_none_of_its_business(companion: Companion) -> None:
    assert not companion.reaped(1, 0)
