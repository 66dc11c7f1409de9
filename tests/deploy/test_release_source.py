"""What a release is made of, and what it is called."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from deploy.ops import source
from deploy.ops.errors import WrongUseError
from deploy.ops.source import Source


def git(directory: Path, *words: str) -> str:
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=0")
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *settings, "-C", str(directory), *words],
        env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit(directory: Path) -> str:
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "a change")
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "package").mkdir(parents=True)
    git(tree, "init", "--quiet", "--initial-branch=main")
    (tree / ".gitignore").write_text("ignored\n")
    (tree / "package" / "served.py").write_text("VERSION = 1\n")
    commit(tree)
    return tree


def find(target: str | Path, repository: Path) -> Source:
    with source.found(str(target), repository, brought_out=False) as found:
        return found


def test_the_name_says_when_and_of_what() -> None:
    made_of = Source(directory=None, digits="2f1c9e0", shown="")
    assert source.new_id(made_of, 1795485600.9) == "20261124-020000-2f1c9e0"


def test_a_clean_work_tree_goes_by_its_commit(repository: Path, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    found = find(repository, tmp_path)
    assert found == Source(
        directory=repository, digits=head[:7], shown=f"{repository} (commit {head[:7]})"
    )
    (repository / "ignored").touch()
    assert find(repository, tmp_path) == found
    assert find(repository / "package", tmp_path).digits == head[:7]


@pytest.mark.parametrize("name", ["package/served.py", "package/another.py"])
def test_a_changed_work_tree_goes_by_its_content(
    repository: Path, tmp_path: Path, name: str
) -> None:
    clean = find(repository, tmp_path).digits
    (repository / name).write_text("VERSION = 2\n")
    changed = find(repository, tmp_path)
    assert changed.shown == f"{repository} (with changes that are not committed)"
    assert re.fullmatch("[0-9a-f]{7}", changed.digits)
    assert changed.digits != clean
    assert find(repository, tmp_path) == changed
    (repository / "ignored").touch()
    assert find(repository, tmp_path) == changed
    (repository / name).chmod(0o755)
    assert find(repository, tmp_path).digits != changed.digits


def test_a_plain_directory_goes_by_its_content(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "package").mkdir(parents=True)
    (tree / "package" / "served.py").write_text("VERSION = 1\n")
    first = find(tree, tmp_path)
    assert first.shown == f"{tree} (content {first.digits})"
    for left_out in (".venv/bin", "var/run", "package/__pycache__", ".ruff_cache"):
        (tree / left_out).mkdir(parents=True)
        (tree / left_out / "file").touch()
    assert find(tree, tmp_path) == first
    (tree / "package" / "link").symlink_to("served.py")
    assert find(tree, tmp_path).digits != first.digits


@pytest.mark.parametrize("name", ["main", "v1", "HEAD~1", "{full}", "{short}"])
def test_a_commit_goes_by_whatever_name_git_knows(repository: Path, name: str) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "--annotate", "v1", "--message", "the first")
    if name == "HEAD~1":
        (repository / "package" / "served.py").write_text("VERSION = 2\n")
        commit(repository)
    name = name.format(full=first, short=first[:10])
    # Any folder of the repository will do.
    found = find(name, repository / "package")
    assert found == Source(
        directory=None, digits=first[:7], shown=f"{name} of {repository} (commit {first[:7]})"
    )


def test_a_commit_is_brought_out_as_it_was(repository: Path) -> None:
    git(repository, "tag", "v1")
    (repository / "package" / "served.py").write_text("VERSION = 2\n")
    with source.found("v1", repository, brought_out=True) as found:
        assert found.directory is not None
        assert (found.directory / "package" / "served.py").read_text() == "VERSION = 1\n"
        assert not (found.directory / ".git").exists()
    assert not found.directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody else's repository")
def test_root_may_release_a_repository_of_somebody_elses(repository: Path, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    assert find("main", repository).digits == head[:7]
    assert find(repository, tmp_path).digits == head[:7]
    assert (repository / ".git" / "index").stat().st_uid == 65534


@pytest.mark.parametrize(
    "name", ["v2", "--upload-pack=x", "-x", "a b", "nowhere/at/all", "v1^{tree}"]
)
def test_what_is_neither_is_wrong_use(repository: Path, name: str) -> None:
    git(repository, "tag", "v1")
    with pytest.raises(WrongUseError) as caught:
        find(name, repository)
    assert caught.value.message == (
        f"'{name}': expected a directory, a release in `release --list`, or a commit of "
        f"{repository}"
    )


def test_without_a_repository_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(WrongUseError, match=f"a commit \\({tmp_path} is no Git repository\\)"):
        find("main", tmp_path)
