from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.state import ledger
from tests.cluster import ROOT


def run(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def output(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return said


def test_events_come_back_in_order_with_their_facts(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet"
    ledger.append(directory, "start", who="systemd")
    ledger.append(
        directory, "reload", who="alice", why="two\nlines", outcome="complete", seconds=1.5
    )
    first, second = ledger.read(directory, limit=None)
    assert (first["event"], first["who"], first["why"], first["outcome"]) == (
        "start",
        "systemd",
        "",
        "",
    )
    assert (second["why"], second["outcome"], second["seconds"]) == ("two\nlines", "complete", 1.5)
    assert len((directory / ledger.FILE).read_text().splitlines()) == 2
    at = datetime.fromisoformat(second["at"])
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert len(second["at"]) == len("2026-11-22T19:46:19.424Z")


@pytest.mark.parametrize(("limit", "expected"), [(None, 5), (0, 0), (2, 2), (9, 5)])
def test_the_limit_keeps_the_newest(tmp_path: Path, limit: int | None, expected: int) -> None:
    for number in range(5):
        ledger.append(tmp_path, "scale", who="alice", number=number)
    numbers = [event["number"] for event in ledger.read(tmp_path, limit=limit)]
    assert numbers == list(range(5 - expected, 5))


def test_nothing_yet_is_an_empty_list(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "missing", limit=None) == []


def test_a_fact_that_json_does_not_know_is_written_as_text(tmp_path: Path) -> None:
    ledger.append(tmp_path, "release", who="alice", path=tmp_path)
    (event,) = ledger.read(tmp_path, limit=None)
    assert event["path"] == str(tmp_path)


def test_a_torn_line_is_skipped_and_the_next_begins_below_it(tmp_path: Path) -> None:
    ledger.append(tmp_path, "start", who="systemd")
    path = tmp_path / ledger.FILE
    with path.open("ab") as file:
        file.write(b'{"event": "cra')
    ledger.append(tmp_path, "stop", who="systemd")
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n{"no": "event"}\n\n')
    ledger.append(tmp_path, "start", who="alice")
    events = ledger.read(tmp_path, limit=None)
    assert [event["event"] for event in events] == ["start", "stop", "start"]


def test_a_full_disk_tears_one_line_and_no_other(tmp_path: Path) -> None:
    ledger.append(tmp_path, "start", who="systemd")
    room = (tmp_path / ledger.FILE).stat().st_size + 20
    process = run(f"""
import resource
from pathlib import Path
from deploy.state import ledger
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
for number in range(2):
    try:
        ledger.append(Path({str(tmp_path)!r}), "crash", who="master", number=number)
    except OSError as error:
        print(error.errno)
""")
    assert len(output(process).split()) == 2  # one short write, one that wrote nothing
    ledger.append(tmp_path, "stop", who="systemd")
    lines = (tmp_path / ledger.FILE).read_bytes().splitlines()
    assert len(lines) == 3
    assert [event["event"] for event in ledger.read(tmp_path, limit=None)] == ["start", "stop"]


def test_a_long_ledger_is_put_aside_and_read_on(tmp_path: Path) -> None:
    path, former = tmp_path / ledger.FILE, tmp_path / ledger.FORMER
    former.write_text('{"event": "forgotten"}\n')
    ledger.append(tmp_path, "old", who="alice")
    with path.open("ab") as file:
        file.write(b"x" * ledger.BYTES_MAX + b"\n")
    ledger.append(tmp_path, "new", who="alice")
    ledger.append(tmp_path, "newer", who="alice")
    assert path.stat().st_size < 1000
    assert former.stat().st_size > ledger.BYTES_MAX
    events = [event["event"] for event in ledger.read(tmp_path, limit=None)]
    assert events == ["old", "new", "newer"]
    assert [event["event"] for event in ledger.read(tmp_path, limit=2)] == ["new", "newer"]
    path.unlink()
    assert [event["event"] for event in ledger.read(tmp_path, limit=None)] == ["old"]


def test_processes_that_append_while_it_is_put_aside_lose_nothing(tmp_path: Path) -> None:
    ledger.append(tmp_path, "old", who="alice")
    with (tmp_path / ledger.FILE).open("ab") as file:
        file.write(b"x" * ledger.BYTES_MAX + b"\n")
    code = f"""
import os
from pathlib import Path
from deploy.state import ledger
for number in range(100):
    ledger.append(Path({str(tmp_path)!r}), "crash", who=str(os.getpid()), number=number)
"""
    processes = [run(code) for _ in range(4)]
    for process in processes:
        output(process)
    events = ledger.read(tmp_path, limit=None)
    assert events[0]["event"] == "old"
    seen = {(event["who"], event["number"]) for event in events[1:]}
    assert seen == {(str(process.pid), number) for process in processes for number in range(100)}
    assert len(events) == 401


def test_each_line_is_json_of_its_own(tmp_path: Path) -> None:
    ledger.append(tmp_path, "start", who="\udcff\u2028", why='"')
    (line,) = (tmp_path / ledger.FILE).read_text().splitlines()
    assert json.loads(line)["who"] == "\udcff\u2028"


def test_a_directory_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ledger.append(tmp_path / "file", "start", who="systemd")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_creates_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 23456)
    ledger.append(tmp_path, "start", who="alice")
    found = (tmp_path / ledger.FILE).stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)
