"""What a release is made of: a directory as it stands there, or a commit of a Git repository."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.ops.errors import OperationError, WrongUseError

_DIGITS = 7
_GIT_SECONDS = 120.0
_NAME = re.compile(r"[^-\s:~^?*\[\\][^\s:?*\[\\]*")
# As deploy/scripts/build-release.sh copies a directory that is no Git work tree.
_LEFT_OUT = {".git", ".hg", ".svn", ".venv", "var", "__pycache__"}
_LEFT_OUT_FILES = {".env", "BUILDING", "FAILED", "LIVED", "RELEASE"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A tree to build from."""

    directory: Path | None  # None: only looked up, not brought out of the repository
    digits: str  # seven, of the commit or of the content
    shown: str  # for people: `/srv/shop (commit 2f1c9e0)`


def new_id(source: Source, now: float) -> str:
    """The release's name: when it was made, of what."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{source.digits}"


@contextlib.contextmanager
def found(target: str, repository: Path, *, brought_out: bool) -> Iterator[Source]:
    """The directory `target`, else the commit of that name; raises WrongUseError for neither.

    A commit is brought out into a directory that is gone afterwards, if it is wanted at all.
    """
    if Path(target).is_dir():
        yield _of_directory(Path(target).resolve())
        return
    top = _top(repository.resolve())
    commit = _commit(top, target) if top else ""
    if top is None or not commit:
        where = f"a commit of {top}" if top else f"a commit ({repository} is no Git repository)"
        raise WrongUseError(
            f"'{target}': expected a directory, a release in `release --list`, or {where}",
            "name a path, or the repository: --repository DIRECTORY",
        )
    shown = f"{target} of {top} (commit {commit[:_DIGITS]})"
    if not brought_out:
        yield Source(directory=None, digits=commit[:_DIGITS], shown=shown)
        return
    with tempfile.TemporaryDirectory(prefix="smart-factory-source-") as folder:
        _bring_out(top, commit, Path(folder))
        yield Source(directory=Path(folder, "tree"), digits=commit[:_DIGITS], shown=shown)


def _of_directory(directory: Path) -> Source:
    top = _top(directory)
    # A directory that Git ignores, in somebody's work tree, is none of it.
    tracked = bool(top and _git(top, "-C", str(directory), "ls-files", "--error-unmatch", "."))
    if top and tracked:
        changed = _git(top, "-C", str(directory), "status", "--porcelain", "--", ".")
        commit = _commit(top, "HEAD")
        if commit and changed == b"":
            digits = commit[:_DIGITS]
            return Source(
                directory=directory, digits=digits, shown=f"{directory} (commit {digits})"
            )
    digits = content(directory, top)
    kind = "with changes that are not committed" if tracked else f"content {digits}"
    return Source(directory=directory, digits=digits, shown=f"{directory} ({kind})")


def content(directory: Path, top: Path | None) -> str:
    """Seven digits of the SHA-256 of the files that a release takes: names, modes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(_listed(directory, top)):
        path = directory / name
        try:
            if path.is_symlink():
                what = b"link " + os.fsencode(path.readlink())
            elif path.is_file():
                run = b"x " if path.stat().st_mode & 0o100 else b"- "
                what = run + hashlib.sha256(path.read_bytes()).digest()
            else:
                continue  # deleted and not committed, or a repository in the repository
        except OSError as error:
            raise OperationError(
                f"{path} cannot be read ({error.strerror})", "mend it, or run as its owner"
            ) from None
        digest.update(os.fsencode(name) + b"\0" + what + b"\0")
    return digest.hexdigest()[:_DIGITS]


def _listed(directory: Path, top: Path | None) -> Iterator[str]:
    if top is not None:
        words = ("ls-files", "--cached", "--others", "--exclude-standard", "-z")
        listed = _git(top, "-C", str(directory), *words)
        if listed:
            yield from map(os.fsdecode, filter(None, listed.split(b"\0")))
            return
    for folder, folders, files in os.walk(directory):
        here = Path(folder)
        folders[:] = [
            name for name in folders if name not in _LEFT_OUT and not name.endswith("_cache")
        ]
        if here == directory:
            files = [name for name in files if name not in _LEFT_OUT_FILES]
        links = (name for name in folders if (here / name).is_symlink())
        yield from (str((here / name).relative_to(directory)) for name in (*files, *links))


def _top(directory: Path) -> Path | None:
    """The work tree's (or the bare repository's) top; Git itself refuses to look at another's."""
    for folder in (directory, *directory.parents):
        if (folder / ".git").exists() or (
            (folder / "HEAD").is_file() and (folder / "objects").is_dir()
        ):
            return folder
    return None


def _commit(top: Path, name: str) -> str:
    if not _NAME.fullmatch(name):
        return ""
    return (
        (_git(top, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") or b"")
        .decode()
        .strip()
    )


def _bring_out(top: Path, commit: str, folder: Path) -> None:
    archive, tree = folder / "tree.tar", folder / "tree"
    tree.mkdir()
    if _git(top, "archive", "--format=tar", f"--output={archive}", commit) is None:
        raise OperationError(f"git archive {commit[:_DIGITS]} failed in {top}", "try it by hand")
    try:
        subprocess.run(  # noqa: S603 - fixed words and our own paths
            ["tar", "--extract", "--file", str(archive), "--directory", str(tree)],  # noqa: S607
            check=True,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise OperationError(f"the commit cannot be unpacked into {tree} ({error})") from None
    archive.unlink()


def _git(top: Path, *words: str) -> bytes | None:
    """What Git says; None when it fails. Root may look at a repository that is somebody else's."""
    # Without optional locks: an index that root rewrites would be root's.
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={top}", "-C", str(top), *words]
    environ = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, a checked name
            command, capture_output=True, env=environ, timeout=_GIT_SECONDS, check=False
        )
    except FileNotFoundError:
        return None  # a directory can be released without Git
    except subprocess.TimeoutExpired:
        raise OperationError(f"waited {_GIT_SECONDS:g} s for: {' '.join(command)}") from None
    return None if done.returncode else done.stdout
