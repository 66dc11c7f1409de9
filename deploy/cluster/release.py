"""Which release this is: what RELEASE says, else the commit that is checked out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

UNKNOWN = "unknown"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def identify(environ: Mapping[str, str], directory: Path) -> str:
    """The name of the release: RELEASE, else the first seven digits of Git's HEAD, else `unknown`.

    Git's files are read, not git run: a server may have none (gitrepository-layout(5)).
    """
    return environ.get("RELEASE") or _head(directory / ".git") or UNKNOWN


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
