"""A copy of the project, as a fresh clone would be, with the work tree's changes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster import ROOT


def copy_tree(to: Path) -> Path:
    """Copies what Git tracks, and what it does not ignore; `.venv` is the one the tests run in.

    That one is brought up to date first: the copy's own set-up would install the copy into it.
    """
    subprocess.run([ROOT / "deploy/scripts/setup.sh"], check=True)
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, done.stdout.split("\0")):
        source = ROOT / name
        if source.exists():  # deleted files are still listed until they are committed
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)
    (to / ".venv").symlink_to(ROOT / ".venv")
    return to
