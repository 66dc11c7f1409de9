from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cluster.desired_state import DesiredState
from deploy.state import desired
from deploy.state.desired import Desired
from deploy.state.layout import SLOTS_MAX
from tests.cluster import ROOT

LOG = logging.getLogger(__name__)


def test_nobody_has_asked_for_anything(tmp_path: Path) -> None:
    state = DesiredState(tmp_path / "missing", LOG)
    assert (state.workers, state.by) == (None, "operator")
    assert not state.changed()


@pytest.mark.parametrize("workers", [1, 7, SLOTS_MAX, "max"])
def test_what_was_asked_for_before_the_start_holds_and_is_no_change(
    tmp_path: Path, workers: int | str
) -> None:
    desired.write(tmp_path, Desired(workers=workers, by="alice"))
    state = DesiredState(tmp_path, LOG)
    assert (state.workers, state.by) == (workers, "alice")
    assert not state.changed()


def test_a_change_is_said_once(tmp_path: Path) -> None:
    state = DesiredState(tmp_path, LOG)
    for workers in (4, 5, "max"):
        desired.write(tmp_path, Desired(workers=workers, by="bob"))
        assert state.changed()
        assert not state.changed()
        assert (state.workers, state.by) == (workers, "bob")


def test_every_write_is_seen_also_of_the_same_length_in_the_same_moment(tmp_path: Path) -> None:
    state = DesiredState(tmp_path, LOG)
    for number in range(300):
        desired.write(tmp_path, Desired(workers=number % 9 + 1))
        assert state.changed()
        assert state.workers == number % 9 + 1


def test_a_file_that_says_the_same_is_no_change(tmp_path: Path) -> None:
    desired.write(tmp_path, Desired(workers=4, at=12.5))
    state = DesiredState(tmp_path, LOG)
    desired.write(tmp_path, Desired(workers=4, at=12.5))
    assert not state.changed()


def test_a_file_that_is_gone_asks_for_nothing(tmp_path: Path) -> None:
    desired.write(tmp_path, Desired(workers=4))
    state = DesiredState(tmp_path, LOG)
    (tmp_path / desired.FILE).unlink()
    assert state.changed()
    assert state.workers is None


@pytest.mark.parametrize("text", ["{", '{"workers": 0}', "", "[]"])
def test_a_damaged_file_changes_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    desired.write(tmp_path, Desired(workers=4))
    state = DesiredState(tmp_path, LOG)
    (tmp_path / desired.FILE).write_text(text)
    for _ in range(3):
        assert not state.changed()
    assert state.workers == 4
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith(f"[Master] {tmp_path / desired.FILE}: ")
    assert record.getMessage().endswith(". It is ignored")
    desired.write(tmp_path, Desired(workers=5))
    assert state.changed()
    assert state.workers == 5


def test_a_file_that_was_damaged_at_the_start_is_said_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / desired.FILE).write_text("{")
    assert DesiredState(tmp_path, LOG).workers is None
    assert len(caplog.records) == 1


def test_what_is_asked_for_here_outlives_the_master_and_is_no_news_to_it(tmp_path: Path) -> None:
    state = DesiredState(tmp_path / "new", LOG)
    assert state.ask(4, "signal TTIN")
    assert not state.changed()
    assert (state.workers, state.by) == (4, "signal TTIN")
    again = DesiredState(tmp_path / "new", LOG)
    assert (again.workers, again.by) == (4, "signal TTIN")
    assert desired.read(tmp_path / "new").at > 0


@pytest.mark.parametrize(
    ("workers", "asked"),
    [(-1, False), (0, False), (1, True), (SLOTS_MAX, True), (SLOTS_MAX + 1, False)],
)
def test_only_a_number_that_there_is_room_for_can_be_asked_for(
    tmp_path: Path, workers: int, asked: bool
) -> None:
    state = DesiredState(tmp_path, LOG)
    assert state.ask(workers, "signal TTOU") is asked
    assert state.workers == (workers if asked else None)
    assert (tmp_path / desired.FILE).exists() is asked


def test_the_mode_that_was_asked_for_stays_when_a_number_is(tmp_path: Path) -> None:
    desired.write(tmp_path, Desired(mode="cluster", workers=2))
    state = DesiredState(tmp_path, LOG)
    state.ask(3, "signal TTIN")
    assert desired.read(tmp_path).mode == "cluster"


def test_a_mode_that_was_asked_for_a_moment_ago_stays_too(tmp_path: Path) -> None:
    state = DesiredState(tmp_path, LOG)
    desired.write(tmp_path, Desired(mode="fork", by="smart-factory switch"))
    state.ask(3, "signal TTIN")
    assert desired.read(tmp_path).mode == "fork"


def test_a_number_replaces_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / desired.FILE).write_text("{")
    assert DesiredState(tmp_path, LOG).ask(3, "signal TTIN")
    assert desired.read(tmp_path).workers == 3


def test_a_number_that_cannot_be_written_holds_until_the_restart(tmp_path: Path) -> None:
    """A full disk: the limit on a file's size stands in for it, in a process of its own."""
    code = f"""
import logging, resource, signal
from pathlib import Path
from deploy.cluster.desired_state import DesiredState
logging.basicConfig(format="%(message)s")
state = DesiredState(Path({str(tmp_path)!r}), logging.getLogger())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
print(state.ask(5, "signal TTIN"), state.changed(), state.workers)
"""
    desired.write(tmp_path, Desired(workers=4))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "5"]
    assert "[Master] The number of workers is lost at a restart: " in done.stderr
    assert desired.read(tmp_path).workers == 4
