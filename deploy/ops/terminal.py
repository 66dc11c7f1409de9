"""How facts look to people: columns, durations, sizes, times."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# The states of a cluster, of a worker and of a consumer.
COLOURS = {
    "ready": "green",
    "running": "green",
    "starting": "cyan",
    "booting": "cyan",
    "draining": "yellow",
    "degraded": "yellow",
    "paused": "yellow",
    "down": "red",
    "stopped": "red",
}


def console(*, width: int = 200) -> Console:
    """Standard output, in colour on a terminal unless NO_COLOR is set; `width` is that of a pipe.

    A pipe has no edge to cut at.
    """
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=width)


def coloured(stream: TextIO) -> bool:
    """Whether what is written there may be coloured: a terminal that can, and no NO_COLOR."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """The text in one line, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def counted(number: int, noun: str = "worker") -> str:
    """`1 worker`, `4 workers`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shown(value: object) -> str:
    """A dash for what is not known."""
    return "-" if value is None else str(value)


def percent(value: float | None) -> str:
    """`12%`."""
    return "-" if value is None else f"{value:.0f}%"


def duration(seconds: float | None) -> str:
    """`42s`, `3m 7s`, `5h 12m`, `9d 4h`."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for unit, letter, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit:
            return f"{whole // unit}{letter} {whole % unit // part}{small}"
    return f"{whole // 60}m {whole % 60}s" if whole >= 60 else f"{whole}s"


def size(size: int | None) -> str:
    """Bytes in mebibytes, `45.2M`."""
    return "-" if size is None else f"{size / (1 << 20):.1f}M"


def local_time(at: float) -> str:
    """Unix time on the operator's clock, `2026-11-22 19:46:19`."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
