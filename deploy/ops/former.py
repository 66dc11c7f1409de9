"""desired.json as it was before a rollback, for the way back: desired.before-NAME.json.

`deploy/scripts/rollback.sh` keeps and restores the same files.
"""

from __future__ import annotations

from pathlib import Path

from deploy.state import desired
from deploy.state.replacement import replace_file

_NOTHING = b"{}\n"  # nothing was asked for


def path_of(state_directory: Path, name: str) -> Path:
    """Where what was before `rollback scale` or `rollback fork` is kept."""
    return state_directory / f"desired.before-{name}.json"


def content(state_directory: Path) -> bytes:
    """What desired.json holds now; raises OSError."""
    try:
        return (state_directory / desired.FILE).read_bytes()
    except FileNotFoundError:
        return _NOTHING


def restore(state_directory: Path, raw: bytes) -> None:
    """Makes desired.json say that; raises OSError."""
    put(state_directory / desired.FILE, raw)


def put(path: Path, raw: bytes) -> None:
    """Replaces the file, so that a crash leaves the old or the new; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, raw)
