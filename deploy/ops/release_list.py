"""`release --list`: what lies in ROOT/releases."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from deploy.ops import terminal
from deploy.ops.build import bytes_of
from deploy.ops.installation import Installation


@dataclass(frozen=True, kw_only=True)
class Line:
    """One release."""

    id: str
    live: bool
    previous: bool
    failed: str  # the reason; empty when it has not
    whole: bool  # built to its end
    lived: bool  # it has served, and was validated
    age: float  # seconds since it was made
    size: int  # bytes on the disk

    @property
    def state(self) -> str:
        """In words."""
        words = [name for name in ("live", "previous") if getattr(self, name)]
        if not self.whole:
            words.append("not whole")
        if self.failed:
            words.append(f"failed: {self.failed}")
        elif self.whole and not self.lived:
            words.append("not validated" if self.live else "has never served")
        return ", ".join(words) or "has served"


def read(installation: Installation) -> list[Line]:
    """Every release, the newest first."""
    live, previous = installation.linked("current"), installation.linked("previous")
    now = time.time()
    return [
        Line(
            id=release.id,
            live=live is not None and live.id == release.id,
            previous=previous is not None and previous.id == release.id,
            failed=release.failure,
            whole=release.whole,
            lived=release.lived,
            age=round(now - _made(release.id), 1),
            size=bytes_of(release.directory),
        )
        for release in reversed(installation.all())
    ]


def to_json(lines: Sequence[Line]) -> str:
    """For machines."""
    return json.dumps([asdict(line) for line in lines], indent=2)


def to_text(lines: Sequence[Line]) -> str:
    """For people."""
    if not lines:
        return "no releases"
    rows = [("release", "age", "size", "state")]
    rows += [
        (line.id, terminal.duration(line.age), terminal.size(line.size), line.state)
        for line in lines
    ]
    return "\n".join(
        f"{name:{len(lines[0].id)}}  {age:>7}  {size:>8}  {state}"
        for name, age, size, state in rows
    )


def _made(name: str) -> float:
    try:
        return datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:  # eight digits that are no date
        return 0.0
