"""Which release this is: what RELEASE says, the variable or the file, else the commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

UNKNOWN = "unknown"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def identify(environ: Mapping[str, str], directory: Path) -> str:
    """The name of the release: RELEASE, else the file of that name, which its building has left.

    In a checkout it is the first seven digits of Git's HEAD, else `unknown`. Git's files are read,
    not git run: a server may have none (gitrepository-layout(5)).
    """
    found = environ.get("RELEASE") or _written(directory / "RELEASE") or _head(directory / ".git")
    return found or UNKNOWN


def _written(file: Path) -> str | None:
    try:
        words = file.read_text(errors="replace").split()
    except OSError:
        return None
    return words[0] if words else None


def _head(git: Path) -> str | None:
    try:
        head = (git / "HEAD").read_text().strip()
        if _COMMIT.fullmatch(head):
            return head[:7]
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()[:7]
        for line in (git / "packed-refs").read_text().splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return commit[:7]
    except OSError:  # no repository, or no commit yet
        pass
    return None
