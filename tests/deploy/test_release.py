from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.cluster.release import identify


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", directory, *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_variable_wins(tmp_path: Path) -> None:
    assert identify({"RELEASE": "2026-11-22"}, tmp_path) == "2026-11-22"


def test_a_built_release_says_its_name_in_a_file(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    (tmp_path / "RELEASE").write_text("20261124-021530-2f1c9e0\n")
    assert identify({}, tmp_path) == "20261124-021530-2f1c9e0"
    assert identify({"RELEASE": "another"}, tmp_path) == "another"


def test_an_empty_release_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "RELEASE").write_text("\n")
    assert identify({}, tmp_path) == "unknown"


def test_a_folder_without_history_is_unknown(tmp_path: Path) -> None:
    assert identify({}, tmp_path) == "unknown"
    git(tmp_path, "init", "-q")
    assert identify({}, tmp_path) == "unknown"


def test_the_commit_is_found_on_a_branch_packed_and_detached(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")[:7]
    assert identify({}, tmp_path) == commit
    git(tmp_path, "pack-refs", "--all")
    assert identify({}, tmp_path) == commit
    git(tmp_path, "checkout", "-q", "--detach")
    assert identify({}, tmp_path) == commit
