"""Where releases lie, and which of them serves: ROOT/releases/ID, ROOT/current, ROOT/previous."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.ops.errors import OperationError
from deploy.state.replacement import replace_file

ROOT = "/opt/smart-factory"
# UTC, then seven hex digits of the commit or of the content: they sort by age.
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{7}")


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release on disk: its tree, its virtual environment and what became of it."""

    id: str
    directory: Path

    @property
    def python(self) -> Path:
        """Its own interpreter."""
        return self.directory / ".venv" / "bin" / "python"

    @property
    def whole(self) -> bool:
        """Whether its building has come to an end."""
        return not (self.directory / "BUILDING").exists()

    @property
    def lived(self) -> bool:
        """Whether it has served, and passed the validation."""
        return (self.directory / "LIVED").exists()

    @property
    def failure(self) -> str:
        """Why it was refused or rolled back; empty when it was not."""
        try:
            return (self.directory / "FAILED").read_text().strip() or "unknown"
        except OSError:
            return ""

    def mark(self, name: str, text: str = "") -> None:
        """Leaves the mark LIVED or FAILED; raises OSError."""
        replace_file(self.directory / name, f"{text}\n".lstrip("\n").encode())

    def unmark(self, name: str) -> None:
        """Takes the mark away."""
        (self.directory / name).unlink(missing_ok=True)


class Installation:
    """The releases below one root."""

    def __init__(self, root: Path):
        self.root = root
        self.releases = root / "releases"

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Installation:
        """The installation that SMART_FACTORY_ROOT names; raises OperationError without one."""
        root = Path(environ.get("SMART_FACTORY_ROOT") or ROOT).absolute()
        if not (root / "releases").is_dir():
            raise OperationError(
                f"no installation in {root} (SMART_FACTORY_ROOT)",
                "install it with: sudo deploy/scripts/install.sh",
            )
        return cls(root)

    def all(self) -> list[Release]:
        """Every release, the oldest first."""
        return sorted(
            (
                Release(id=path.name, directory=path)
                for path in self.releases.iterdir()
                if _ID.fullmatch(path.name) and path.is_dir()
            ),
            key=lambda release: release.id,
        )

    def linked(self, name: str) -> Release | None:
        """Where the link `current` or `previous` leads; None when it leads nowhere."""
        link = self.root / name
        if not link.is_dir():
            return None
        directory = Path(os.path.realpath(link))
        return Release(id=directory.name, directory=directory)

    def link(self, name: str, release: Release) -> None:
        """Points the link to the release, in one rename; raises OSError."""
        new = self.root / f".{name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to(os.path.relpath(release.directory, self.root))
        new.rename(self.root / name)

    def unlink(self, name: str) -> None:
        """Takes the link away."""
        (self.root / name).unlink(missing_ok=True)
