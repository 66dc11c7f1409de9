"""What a key does on `monit`'s screen."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

_SEQUENCE = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|[\x00-\xff]")
_NAMED = {
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x03": "interrupt",
    b"\x1b[5~": "page-up",
    b"\x1b[6~": "page-down",
}
_ARROWS = {b"A": "up", b"B": "down", b"H": "home", b"F": "end"}  # ESC [ or ESC O before them
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -10, "page-down": 10}
_STEPS |= {"home": -10_000, "end": 10_000}

Page = Literal["workers", "help", "events", "slot"]
Words = tuple[str, ...]  # of an operation: scale, +1


@dataclass(frozen=True, kw_only=True)
class View:
    """What the operator looks at."""

    page: Page = "workers"
    selected: int = 0  # row of the table
    scroll: int = 0  # first line of another page
    asking: Words = ()  # the operation that waits for a y


@dataclass(frozen=True, kw_only=True)
class Press:
    """What a key has led to."""

    view: View
    run: Words = ()  # an operation to start
    quit: bool = False


def keys(read: bytes) -> list[str]:
    """The keys that the bytes of a terminal mean; what means none is left out."""
    found = []
    for sequence in _SEQUENCE.findall(read):
        if sequence in _NAMED:
            found.append(_NAMED[sequence])
        elif len(sequence) == 3 and sequence[2:] in _ARROWS:
            found.append(_ARROWS[sequence[2:]])
        elif len(sequence) == 1 and b" " < sequence < b"\x7f":
            found.append(sequence.decode())
    return found


def press(view: View, key: str, *, workers: int) -> Press:
    """The next view; pure. `workers`: the rows of the table."""
    if key == "interrupt":
        return Press(view=view, quit=True)
    if view.asking:
        done = replace(view, asking=())
        return Press(view=done, run=view.asking if key in ("y", "Y") else ())
    if view.page != "workers":
        return _on_page(view, key)
    if key in _STEPS:
        selected = min(max(view.selected + _STEPS[key], 0), max(workers - 1, 0))
        return Press(view=replace(view, selected=selected))
    match key:
        case "q" | "escape":
            return Press(view=view, quit=True)
        case "+" | "-":
            return Press(view=view, run=("scale", f"{key}1"))
        case "r":
            return Press(view=replace(view, asking=("reload", "--why", "monit")))
        case "?" | "h":
            return Press(view=replace(view, page="help", scroll=0))
        case "e":
            return Press(view=replace(view, page="events", scroll=0))
        case "enter" | "d" if workers:
            return Press(view=replace(view, page="slot", scroll=0))
    return Press(view=view)


def _on_page(view: View, key: str) -> Press:
    if key in _STEPS:
        return Press(view=replace(view, scroll=max(0, view.scroll + _STEPS[key])))
    if key in ("q", "escape", "enter", "d", "e", "?", "h"):
        return Press(view=replace(view, page="workers", scroll=0))
    return Press(view=view)
