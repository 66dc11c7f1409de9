"""A mold that ends while the master speaks to it is judged by its end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from deploy.cluster.launch import Launch
from deploy.cluster.mold_handle import MoldHandle
from tests.wait import wait_until


@pytest.fixture
def mold(tmp_path: Path) -> MoldHandle:
    """One whose interpreter is no Python, and leaves with code 9."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 9\n")
    python.chmod(0o755)
    launch = Launch(python=python, arguments=(), directory=tmp_path, environ=dict(os.environ))
    with (tmp_path / "board").open("wb") as board:
        return MoldHandle(launch, number=1, board_fd=board.fileno(), timeout=30)


def test_a_word_to_a_mold_that_has_ended_does_not_hide_why_it_has(mold: MoldHandle) -> None:
    def broken() -> bool:
        mold.load()
        return mold.fileno() < 0

    wait_until(broken, what="the pipe to break")
    assert mold.failure == ""
    _, status = os.waitpid(mold.pid, 0)
    mold.reaped(status)
    assert mold.failure == "the mold ended (exit code 9)"
    assert mold.over


def test_a_mold_that_ends_without_a_word_fails_with_its_exit_code(mold: MoldHandle) -> None:
    def hung_up() -> bool:
        mold.observe(time.monotonic())
        return mold.fileno() < 0

    wait_until(hung_up, what="its end")
    _, status = os.waitpid(mold.pid, 0)
    mold.reaped(status)
    assert mold.failure == "the mold ended (exit code 9)"


def test_a_mold_needs_an_interpreter(tmp_path: Path) -> None:
    launch = Launch(
        python=tmp_path / "nowhere", arguments=(), directory=tmp_path, environ=dict(os.environ)
    )
    with pytest.raises(FileNotFoundError):
        MoldHandle(launch, number=1, board_fd=sys.stderr.fileno(), timeout=30)
