from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.state import lock
from deploy.state.lock import LockHeldError
from tests.cluster import ROOT

# Holds the lock, and starts a process that outlives it.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from deploy.state import lock
with lock.operation(Path(sys.argv[1]), "scale 4"):
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_second_operation_is_told_of_the_first(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet"
    with lock.operation(directory, "scale 4"):
        with (
            pytest.raises(LockHeldError) as caught,
            lock.operation(directory, "reload"),
        ):
            pytest.fail("two at a time")
        said = str(caught.value)
        assert said.startswith(f"another operation is running: 'scale 4' (pid {os.getpid()}) since")
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d$", said)
        holder = json.loads((directory / lock.FILE).read_text())
        assert set(holder) == {"pid", "operation", "since"}
    with lock.operation(directory, "reload"):
        assert json.loads((directory / lock.FILE).read_text())["operation"] == "reload"


def test_a_failure_releases_the_lock_and_keeps_the_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.operation(tmp_path, "scale 4"):
        raise ZeroDivisionError
    inode = (tmp_path / lock.FILE).stat().st_ino
    with lock.operation(tmp_path, "reload"):
        assert (tmp_path / lock.FILE).stat().st_ino == inode


def test_a_killed_holders_lock_is_recovered_though_its_child_lives(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout as said:
        child = int(said.readline())
    try:
        with (
            pytest.raises(LockHeldError, match=rf"'scale 4' \(pid {holder.pid}\)"),
            lock.operation(tmp_path, "reload"),
        ):
            pytest.fail("two at a time")
        holder.kill()
        holder.wait(20)
        with lock.operation(tmp_path, "reload"):
            assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == os.getpid()
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[]", b'{"pid": 1}', b"x" * 9000])
def test_a_holder_that_does_not_say_who_it_is_still_holds(tmp_path: Path, content: bytes) -> None:
    with lock.operation(tmp_path, "scale 4"):
        (tmp_path / lock.FILE).write_bytes(content)
        with (
            pytest.raises(LockHeldError, match="it has not yet said which"),
            lock.operation(tmp_path, "reload"),
        ):
            pytest.fail("two at a time")


def test_what_a_dead_holder_has_written_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / lock.FILE).write_text("x" * 9000)
    with lock.operation(tmp_path, "reload"):
        assert json.loads((tmp_path / lock.FILE).read_text())["operation"] == "reload"


def test_a_directory_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), lock.operation(tmp_path / "file", "reload"):
        pytest.fail("no lock")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / lock.FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=lock.FILE), lock.operation(tmp_path, "reload"):
        pytest.fail("no lock")
    assert (tmp_path / "elsewhere").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_creates_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 23456)
    with lock.operation(tmp_path, "reload"):
        found = (tmp_path / lock.FILE).stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)
