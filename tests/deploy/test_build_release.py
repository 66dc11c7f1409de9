"""build-release.sh: what of a tree becomes a release, and what is refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import ROOT
from tests.deploy.test_release import git

BUILD = ROOT / "deploy" / "scripts" / "build-release.sh"
BASH = shutil.which("bash") or "/bin/bash"
ID = "20261124-021530-2f1c9e0"
MARKS = {"BUILDING", "FAILED", "LIVED", "RELEASE"}


def write(directory: Path, *names: str) -> Path:
    """These files, each with its name as its content."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return directory


def kit(directory: Path) -> Path:
    """A tree that brings a kit, and requires nothing that pip would have to fetch."""
    write(directory, "gunicorn.conf.py", "deploy/__init__.py", "deploy/cluster/__init__.py")
    (directory / "requirements.txt").write_text("")
    return directory


def build(
    source: Path, destination: Path | str, *, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """Builds it, with the source's parent as the current directory."""
    return subprocess.run(
        [BASH, BUILD, "--python", sys.executable, source, destination],
        env={"PATH": f"{path}:{os.environ['PATH']}", "PIP_NO_INDEX": "1"},
        cwd=source.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def files(release: Path) -> set[str]:
    """What the release has, but for its virtual environment and compiled files."""
    return {
        str(path.relative_to(release))
        for path in release.rglob("*")
        if not path.is_dir() and not {".venv", "__pycache__"} & {*path.relative_to(release).parts}
    }


KIT_FILES = {"gunicorn.conf.py", "requirements.txt", "deploy/__init__.py"}
KIT_FILES |= {"deploy/cluster/__init__.py"}


def test_a_work_tree_is_taken_as_it_stands_without_what_git_ignores(tmp_path: Path) -> None:
    source = kit(tmp_path / "shop")
    write(source, "shop.py", "gone.py", "a name with spaces.txt")
    (source / "broken.py").write_text("def (:\n")
    (source / ".gitignore").write_text("var/\n.env\n__pycache__/\n")
    git(source, "init", "--quiet")
    git(source, "add", ".")
    git(source, "commit", "--quiet", "-m", "first")
    (source / "gone.py").unlink()
    (source / "link.py").symlink_to("shop.py")
    write(source, ".env", "var/state/x", "__pycache__/x.pyc", "new.py")
    (source / "shop.py").write_text("NAME = 'shop'\n")
    (source / "shop.py").chmod(0o600)
    (source / "new.py").chmod(0o666)
    (tmp_path / "releases").mkdir()

    done = build(source, f"releases/{ID}")
    assert (done.returncode, done.stderr) == (0, "")
    release = tmp_path / "releases" / ID
    names = {".gitignore", "shop.py", "new.py", "link.py", "broken.py", "a name with spaces.txt"}
    assert files(release) == KIT_FILES | names | {"RELEASE"}
    assert (release / "RELEASE").read_text() == f"{ID}\n"
    assert (release / "link.py").is_symlink()

    # Anybody may read it, only its owner write.
    modes = {stat.S_IMODE((release / name).stat().st_mode) for name in ("shop.py", "new.py")}
    assert modes == {0o644}
    # Its own interpreter finds it from anywhere, and what it compiled beforehand.
    said = subprocess.run(
        [release / ".venv/bin/python", "-P", "-c", "import shop; print(shop.NAME, shop.__file__)"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert said == f"shop {release}/shop.py\n"
    assert list((release / "__pycache__").glob("shop.*.pyc"))


def test_of_a_plain_directory_neither_secrets_nor_another_release_s_marks_are_taken(
    tmp_path: Path,
) -> None:
    source = kit(tmp_path / "shop")
    write(source, *MARKS, ".env", "var/log/x", ".venv/bin/python", "shop/__pycache__/x.pyc")
    write(source, "shop/__init__.py", "shop/var/x", "shop/LIVED", ".ruff_cache/x")
    done = build(source, tmp_path / ID)
    assert (done.returncode, done.stderr) == (0, "")
    taken = {"shop/__init__.py", "shop/var/x", "shop/LIVED", "RELEASE"}
    assert files(tmp_path / ID) == KIT_FILES | taken


def test_a_failed_build_keeps_its_mark_and_pip_s_words(tmp_path: Path) -> None:
    # Ignored by the repository around it, and so none of its files.
    write(tmp_path, "README")
    (tmp_path / ".gitignore").write_text("/shop/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    source = kit(tmp_path / "shop")
    (source / "requirements.txt").write_text("no-such-distribution==1.0\n")
    done = build(source, tmp_path / ID)
    assert done.returncode == 1
    assert "no-such-distribution==1.0" in done.stderr
    assert done.stderr.endswith("pip could not install the requirements; its message is above\n")
    assert files(tmp_path / ID) == KIT_FILES | {"BUILDING"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["deploy/__init__.py", "shop.py"], "the tree has deploy/ but no gunicorn.conf.py"),
        (["gunicorn.conf.py", "shop.py"], "has a gunicorn.conf.py that is not the kit's"),
    ],
)
def test_a_tree_that_is_in_the_kit_s_way_is_refused(
    tmp_path: Path, names: list[str], said: str
) -> None:
    source = write(tmp_path / "shop", *names)
    done = build(source, tmp_path / ID)
    assert done.returncode == 1
    assert said in done.stderr
    assert (tmp_path / ID / "BUILDING").exists()


def test_what_fails_on_the_way_is_code_1_whatever_its_own(tmp_path: Path) -> None:
    source = kit(tmp_path / "shop")
    tar = write(tmp_path / "bin", "tar") / "tar"
    tar.write_text(f"#!{BASH}\necho 'tar: no room' >&2\nexit 2\n")
    tar.chmod(0o755)
    done = build(source, tmp_path / ID, path=str(tar.parent))
    assert done.returncode == 1
    assert set(done.stderr.splitlines()) == {"tar: no room"}
    assert files(tmp_path / ID) == {"BUILDING"}
