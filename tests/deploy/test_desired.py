from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.state import desired
from deploy.state.desired import Desired, DesiredError
from tests.cluster import ROOT


def put(directory: Path, text: str) -> None:
    (directory / desired.FILE).write_text(text)


@pytest.mark.parametrize(
    "asked",
    [
        Desired(),
        Desired(mode="fork", by="alice", at=12.5),
        Desired(mode="cluster", workers=1),
        Desired(workers=512, by="Zoë"),
        Desired(workers="max"),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, asked: Desired) -> None:
    directory = tmp_path / "not" / "yet"
    desired.write(directory, Desired(workers=7))
    desired.write(directory, asked)
    assert desired.read(directory) == asked
    assert [path.name for path in directory.iterdir()] == [desired.FILE]
    assert (directory / desired.FILE).stat().st_mode & 0o777 == 0o644


def test_nothing_is_desired_without_a_file(tmp_path: Path) -> None:
    assert desired.read(tmp_path / "missing") == Desired()


def test_a_later_versions_keys_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, '{"workers": 4, "colour": "blue"}')
    assert desired.read(tmp_path) == Desired(workers=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"workers": 0}', 'workers=0: expected an integer from 1 to 512, "max" or null'),
        ('{"workers": 513}', "workers=513: expected"),
        ('{"workers": true}', "workers=True: expected"),
        ('{"workers": 2.0}', "workers=2.0: expected"),
        ('{"workers": "4"}', "workers='4': expected"),
        ('{"workers": [4]}', "workers=[4]: expected"),
        ('{"mode": "swarm"}', "mode='swarm': expected cluster, fork or null"),
        ('{"mode": "a\\nb"}', "mode='a\\nb': expected"),
        ('{"by": 7}', "by=7: expected a name"),
        ('{"at": NaN}', "at=nan: expected seconds since 1970"),
        ('{"at": true, "mode": 1}', "mode=1: expected"),
        ("[4]", "damaged"),
        ('{"workers": 4', "damaged"),
        ("", "damaged"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, text)
    with pytest.raises(DesiredError) as caught:
        desired.read(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / desired.FILE}: {message}")
    assert len(said.splitlines()) == 1


def test_bytes_that_are_no_text_and_a_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / desired.FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(DesiredError, match="damaged"):
        desired.read(tmp_path)
    (tmp_path / desired.FILE).unlink()
    (tmp_path / desired.FILE).mkdir()
    with pytest.raises(DesiredError, match="cannot be read"):
        desired.read(tmp_path)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DesiredError):
        desired.write(tmp_path, Desired(workers=0))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    desired.write(tmp_path, Desired(workers=4))
    code = f"""
import resource
from pathlib import Path
from deploy.state import desired
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    desired.write(Path({str(tmp_path)!r}), desired.Desired(workers=5))
except OSError as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "OSError"
    assert [path.name for path in tmp_path.iterdir()] == [desired.FILE]
    assert desired.read(tmp_path) == Desired(workers=4)


def test_the_file_is_json_with_a_line_end(tmp_path: Path) -> None:
    desired.write(tmp_path, Desired(workers=4, by="alice", at=1.5))
    text = (tmp_path / desired.FILE).read_text()
    assert text.endswith("\n")
    assert json.loads(text) == {"mode": None, "workers": 4, "by": "alice", "at": 1.5}
