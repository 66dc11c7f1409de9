"""The errors that were said since a moment: in the journal, and in the ledger."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.ops import systemd
from deploy.ops.terminal import printable
from deploy.state import ledger

_ERR = 3  # syslog(3): err and worse
_PRETTY = re.compile(r"[0-9-]{10} [0-9:]{8} (?:ERROR|CRITICAL) +\[[0-9]+\] ")
# The master's own, with the outcomes that are errors; None: each is one.
_EVENTS: dict[str, str | None] = {
    "crash": None,
    "mold": "lost",
    "start": "failed",
    "reload": "refused",
}


# A change is not to blame for what was said already before it: so long before.
_KNOWN_MINUTES = 10
_UNITS = (systemd.SERVICE, systemd.BARE)  # one takes the other's place
_VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{7,}|[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment; what comes after it is new, unless it was said shortly before as well."""

    at: float  # Unix time
    cursor: str  # of the journal; empty where there is none, or it may not be read
    known: frozenset[str]  # in the form of `pattern`


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What was said since a mark."""

    new: list[str]  # one line each, in the order in which they were said
    known: int  # how many more there were that the mark knew
    journal: bool  # whether the journal could be read, too


def mark(unit: str, state_directory: Path) -> Mark:
    """Now. `unit`: systemd's, empty without one."""
    now = time.time()
    cursor, said = "", []
    with contextlib.suppress(OSError):
        events = ledger.read(state_directory, limit=None)
        said += in_events(events, now - 60 * _KNOWN_MINUTES)
    if unit:
        with contextlib.suppress(systemd.SystemdError):
            cursor = systemd.cursor()
            said += in_entries(systemd.entries(*_UNITS, minutes=_KNOWN_MINUTES))
    return Mark(at=now, cursor=cursor, known=frozenset(map(pattern, said)))


def since(moment: Mark, state_directory: Path) -> Errors:
    """The errors since the mark; raises OSError when the ledger cannot be read."""
    said = in_events(ledger.read(state_directory, limit=None), moment.at)
    journal = False
    if moment.cursor:
        with contextlib.suppress(systemd.SystemdError):
            said += in_entries(systemd.entries(*_UNITS, after=moment.cursor))
            journal = True
    new = [line for line in said if pattern(line) not in moment.known]
    return Errors(new=new, known=len(said) - len(new), journal=journal)


def pattern(line: str) -> str:
    """The error without what differs from one time to the next: pids, times, addresses. Pure."""
    return _VARYING.sub("#", line)[:120]


def in_events(events: Iterable[Mapping[str, Any]], at: float) -> list[str]:
    """The master's errors in the ledger since `at`; pure."""
    found = []
    for event in events:
        name, outcome = event.get("event"), event.get("outcome")
        if name not in _EVENTS or _EVENTS[name] not in (None, outcome) or _time(event) < at:
            continue
        why = event.get("reason") or event.get("why") or ""
        words = [event.get("worker"), name, outcome]
        said = " ".join(str(word) for word in words if word)
        found.append(printable(f"{said}: {why}" if why else said))
    return found


def in_entries(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The journal's entries that are errors: by their priority, or by the level in our own lines.

    What a service prints has one priority, whatever it says. Pure.
    """
    found = []
    for entry in entries:
        message = _message(entry.get("MESSAGE"))
        said = _our_error(message)
        if said is None and _is_bad(entry.get("PRIORITY")):
            said = message
        if said is not None:
            found.append(printable(said))
    return found


def _our_error(message: str) -> str | None:
    if _PRETTY.match(message):
        return message
    try:
        line = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if isinstance(line, dict) and line.get("level") in ("error", "critical"):
        return str(line.get("message", ""))
    return None


def _message(raw: object) -> str:
    """The journal gives bytes that are not all printable as a list of numbers."""
    if isinstance(raw, list):
        try:
            return bytes(raw).decode(errors="replace")
        except (TypeError, ValueError):
            return ""
    return raw if isinstance(raw, str) else ""


def _is_bad(priority: object) -> bool:
    return isinstance(priority, str) and priority.isdecimal() and int(priority) <= _ERR


def _time(event: Mapping[str, Any]) -> float:
    try:
        # The ledger's clock has milliseconds: what happened in the same one counts.
        return datetime.fromisoformat(str(event.get("at"))).timestamp() + 0.001
    except ValueError:
        return 0.0
