"""deploy/scripts/setup.sh, in a folder of its own; that it works is shown by every other test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import ROOT

BASH = shutil.which("bash") or "/bin/bash"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "deploy/scripts").mkdir(parents=True)
    for name in (
        "deploy/scripts/setup.sh",
        "requirements.txt",
        "requirements-dev.txt",
        "constraints.txt",
        "pyproject.toml",
    ):
        shutil.copy2(ROOT / name, tmp_path / name)
    subprocess.run([ROOT / "deploy/scripts/setup.sh"], check=True)  # as the links below expect
    return tmp_path


def run(clone: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, clone / "deploy/scripts/setup.sh", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python_that_says(path: Path, script: str) -> str:
    """A stand-in for an interpreter that this machine does not have."""
    path.write_text(f"#!{BASH}\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_python_that_is_too_old_is_refused_with_its_version(clone: Path) -> None:
    script = 'case "$1" in --version) echo "Python 3.8.20";; *) echo 8;; esac'
    old = python_that_says(clone / "python3.8", script)
    done = run(clone, PYTHON=old)
    assert done.returncode == 1
    assert done.stderr == f"setup: PYTHON='{old}' is Python 3.8.20: Python 3.11 to 3.14 is needed\n"
    assert not (clone / ".venv").exists()


def test_a_machine_with_only_an_old_python_says_so(clone: Path) -> None:
    programs = clone / "programs"
    programs.mkdir()
    for name in ("cat", "cksum", "flock", "mkdir", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    script = 'case "$1" in --version) echo "Python 3.8.20";; *) echo 8;; esac'
    python_that_says(programs / "python3", script)
    done = run(clone, PATH=str(programs))
    assert done.returncode == 1
    assert "setup: python3 is Python 3.8.20: Python 3.11 to 3.14 is needed" in done.stderr
    (programs / "python3").unlink()
    assert "no python3 in PATH" in run(clone, PATH=str(programs)).stderr


def test_a_python_without_venv_is_refused_with_the_package_to_install(clone: Path) -> None:
    script = f'case "$*" in *ensurepip*) exit 1;; *) exec "{sys.executable}" "$@";; esac'
    bare = python_that_says(clone / "python3", script)
    done = run(clone, PYTHON=bare)
    assert done.returncode == 1
    assert "has no venv module: install it (Debian: apt-get install python3-venv)" in done.stderr


def test_a_python_that_does_not_exist_is_refused(clone: Path) -> None:
    done = run(clone, PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert done.stderr == "setup: PYTHON='/nowhere/python3': no such command\n"


def test_a_named_python_is_not_ignored_because_there_is_a_venv(clone: Path) -> None:
    (clone / ".venv").symlink_to(ROOT / ".venv")
    assert run(clone).returncode == 0, "the set-up is complete"
    done = run(clone, PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert "PYTHON='/nowhere/python3': no such command" in done.stderr


def test_an_unexpected_argument_is_code_2_and_help_is_help(clone: Path) -> None:
    assert run(clone, "--fast").returncode == 2
    done = run(clone, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Creates .venv with the pinned requirements")
