"""What must be there before a release is built."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from deploy.ops import build
from deploy.ops.installation import Installation, Release
from deploy.ops.operation import PreflightError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    release = Release(
        id="20261124-000001-0000001", directory=tmp_path / "releases/20261124-000001-0000001"
    )
    release.directory.mkdir(parents=True)
    (release.directory / "data").write_bytes(b"x" * (8 << 20))
    found = Installation(tmp_path)
    found.link("current", release)
    return found


@pytest.mark.parametrize(("free", "enough"), [(199 << 20, False), (201 << 20, True)])
def test_a_disk_that_is_nearly_full_is_refused(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, free: int, enough: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, (1 << 40) - free, free))
    if enough:
        build.check_space(installation)
        return
    with pytest.raises(PreflightError) as caught:
        build.check_space(installation)
    assert caught.value.message == (
        f"{installation.releases}: 199.0M free, a release may need 200.0M"
    )


def test_the_live_release_says_how_much_another_may_take(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 10 << 20))
    with pytest.raises(PreflightError, match=r"10\.0M free, a release may need 12\.\dM"):
        build.check_space(installation)


def test_an_interpreter_says_its_version() -> None:
    assert build.check_python(sys.executable) == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert build.check_python(build.default_python())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 3.10", ", not 3.10"),
        ("echo No module named ensurepip >&2; exit 1", ""),
        ("exit 0", ""),
    ],
)
def test_another_interpreter_is_refused(tmp_path: Path, script: str, said: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(PreflightError) as caught:
        build.check_python(str(python))
    assert caught.value.message == (
        f"--python='{python}': expected Python 3.11 or later with venv{said}"
    )
