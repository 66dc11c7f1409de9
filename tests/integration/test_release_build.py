"""Releases that are really built: a virtual environment each, with dependencies of their own."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests import wheels
from tests.deploy.test_release_source import commit, git
from tests.integration.release_room import Room, name
from tests.wait import wait_until

ONE = name(1)
KIT = (
    *("gunicorn", "python-json-logger", "python-dotenv", "click", "rich", "psutil"),
    "setproctitle",
)
APP = """
import os, sys
import greeting

def app(environ, start_response):
    head = [("X-Worker-ID", os.environ["WORKER_ID"])]
    start_response("200 OK", head)
    return [f"{greeting.TEXT} {os.environ['RELEASE']} {sys.prefix}".encode()]
"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An application that is not ours, without the kit, in a repository of its own."""
    tree = tmp_path / "shop"
    tree.mkdir()
    (tree / "served.py").write_text(APP)
    (tree / "requirements.txt").write_text("greeting==1.0\n")
    git(tree, "init", "--quiet", "--initial-branch=main")
    commit(tree)
    git(tree, "tag", "v1")
    return tree


@pytest.fixture
def room(tmp_path: Path) -> Room:
    folder = wheels.collect(tmp_path / "wheels", *KIT)
    wheels.make(folder, "greeting", "1.0", "TEXT = 'hello'\n")
    wheels.make(folder, "greeting", "2.0", "TEXT = 'good morning'\n")
    return Room(tmp_path, env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)})


def live(room: Room) -> Path:
    return room.releases / room.live[0]


def test_a_tag_then_the_work_tree_with_another_dependency(room: Room, shop: Path) -> None:
    head = git(shop, "rev-parse", "HEAD")[:7]
    with room.serving() as cluster:
        done = room.release("v1", "--repository", shop, "--bake", "1s")
        assert done.returncode == 0, done.stdout + done.stderr
        first = live(room)
        assert first.name.endswith(f"-{head}")
        assert room.served() == f"hello {first.name} {first / '.venv'}"
        assert cluster.status()["release"] == first.name

        (shop / "requirements.txt").write_text("greeting==2.0\n")
        done = room.release(shop, "--bake", "1s")
        assert done.returncode == 0, done.stdout + done.stderr
        second = live(room)
        assert not second.name.endswith(f"-{head}")
        assert room.served() == f"good morning {second.name} {second / '.venv'}"
        assert room.live == (second.name, first.name)
        assert room.marks(second.name) == {"LIVED"}

        assert room.rollback().returncode == 0
        assert room.served() == f"hello {first.name} {first / '.venv'}"


def test_a_build_that_fails_changes_nothing(room: Room, shop: Path) -> None:
    with room.serving() as cluster:
        before = cluster.pids()
        (shop / "requirements.txt").write_text("greeting==3.0\n")
        done = room.release(shop)
        assert done.returncode == 6, done.stdout + done.stderr
        assert "No matching distribution found for greeting==3.0" in done.stderr
        assert "it was not built: pip could not install the requirements" in done.stderr
        (broken,) = set(room.ids()) - {ONE}
        assert room.marks(broken) == {"BUILDING", "FAILED"}
        assert room.failure(broken).startswith("it was not built: pip could not install")
        assert room.live == (ONE, "")
        assert cluster.pids() == before


def test_ctrl_c_during_the_build_ends_it(room: Room, shop: Path) -> None:
    with room.serving(), room.releasing(shop) as process:
        # Not only the folder: what is interrupted sooner has no mark yet.
        wait_until(lambda: list(room.releases.glob("*/BUILDING")), what="the build to begin")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 130, out + error
        assert "was interrupted; nothing was changed" in error
        assert room.live == (ONE, "")
        (half,) = set(room.ids()) - {ONE}
        assert "BUILDING" in room.marks(half)
        inside = str(room.releases / half)
        # What was killed ends when it has its turn; by itself it would go on for much longer.
        wait_until(lambda: not _processes_with(inside), what="the build to be gone", seconds=3)
        (event,) = room.history("release")
        assert (event["outcome"], event["reason"]) == ("refused", "interrupted")


def _processes_with(text: str) -> list[str]:
    """The command lines in which it stands."""
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if text in line]
