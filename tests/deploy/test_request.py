from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from deploy.state import request


def test_a_request_is_taken_once(tmp_path: Path) -> None:
    asked = request.new("reload", why="a\nnote", force=True)
    request.leave(tmp_path, replace(asked, id="0" * 16))
    request.leave(tmp_path, asked)
    assert (tmp_path / request.FILE).stat().st_mode & 0o777 == 0o644
    assert request.take(tmp_path) == asked
    assert request.take(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_new_request_says_who_and_when() -> None:
    asked = request.new("reload", why="")
    assert re.fullmatch("[0-9a-f]{16}", asked.id)
    assert asked.id != request.new("reload", why="").id
    assert asked.who == request.who()
    assert abs(asked.at - time.time()) < 60
    assert asked.force is False


def test_who_is_the_person_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "root")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert request.who() == "root"
    monkeypatch.setenv("SUDO_USER", "alice")
    assert request.who() == "alice"


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_a_number(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def unknown(_: int) -> None:
        raise error

    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert request.who() == f"uid {os.getuid()}"


@pytest.mark.parametrize(
    "change",
    [
        {"at": -61.0},
        {"at": 61.0},
        {"at": float("nan")},
        {"at": float("inf")},
        {"at": 10**400},
        {"at": None},
        {"force": 1},
        {"id": 7},
        {"why": None},
    ],
)
def test_an_old_or_wrong_request_is_dropped(tmp_path: Path, change: dict[str, object]) -> None:
    values = asdict(request.new("reload", why=""))
    at = change.get("at")
    values |= {"at": time.time() + at} if isinstance(at, float) else change
    (tmp_path / request.FILE).write_text(json.dumps(values))
    assert request.take(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000])
def test_a_damaged_request_is_dropped(tmp_path: Path, content: bytes) -> None:
    (tmp_path / request.FILE).write_bytes(content)
    assert request.take(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_later_versions_keys_are_ignored(tmp_path: Path) -> None:
    asked = request.new("reload", why="")
    (tmp_path / request.FILE).write_text(json.dumps(asdict(asked) | {"colour": "blue"}))
    assert request.take(tmp_path) == asked


def test_taking_never_raises(tmp_path: Path) -> None:
    assert request.take(tmp_path / "missing") is None
    (tmp_path / request.FILE).mkdir()
    assert request.take(tmp_path) is None


def test_a_directory_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        request.leave(tmp_path / "missing", request.new("reload", why=""))
