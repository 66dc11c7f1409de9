"""One line of a log: read from its JSON or its pretty form, chosen, and shown to people."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from deploy.ops.terminal import local_time, printable

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
MASTER = "master"
_PRIORITIES = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_PRETTY = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (DEBUG|INFO|WARNING|ERROR|CRITICAL) +\[(\d+)\] (.*)"
)
_WORKER = re.compile(r"\bworker-[1-9][0-9]*\b")
_COLOURS = {
    "debug": "\033[2m",
    "warning": "\033[33m",
    "error": "\033[31m",
    "critical": "\033[1;31m",
}
_RESET = "\033[0m"
_REQUEST_ID_LETTERS = 8
_WAITING_MAX = 500  # lines that may wait for the line they belong to


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A line as it was found; what only the journal knows is None elsewhere."""

    text: str
    at: float | None = None  # Unix time
    pid: int | None = None  # of who wrote it
    priority: int | None = None  # syslog's
    by: str = ""  # who wrote it, when that is not the service: systemd
    cursor: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that is understood, as far as it can be."""

    text: str  # the message; of a line of neither form all of it
    at: float | None  # Unix time
    level: str | None  # None: it does not say
    pid: int | None
    worker: str | None
    by: str = ""
    fields: Mapping[str, Any] | None = None  # the JSON object
    pretty: bool = False
    writer: int | None = None  # the pid by which lines that belong together are found

    @property
    def loose(self) -> bool:
        """Whether it is of neither form: it may belong to the pretty line before it."""
        return self.fields is None and not self.pretty and not self.by


def parse(raw: Raw) -> Line:
    """What the line says."""
    if raw.text.startswith("{") and (fields := _object(raw.text)) is not None:
        return _machine(raw, fields)
    found = _PRETTY.fullmatch(raw.text)
    if found:
        at, level, pid, message = found.groups()
        worker = _WORKER.search(message)
        return Line(
            text=message,
            at=_local(at) if raw.at is None else raw.at,
            level=level.lower(),
            pid=int(pid),
            worker=worker[0] if worker else None,
            pretty=True,
            writer=raw.pid,
        )
    level = None if not raw.by or raw.priority is None else _PRIORITIES[raw.priority & 7]
    return Line(
        text=raw.text,
        at=raw.at,
        level=level,
        pid=raw.pid,
        worker=None,
        by=raw.by,
        writer=raw.pid,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which lines are asked for."""

    worker: str = ""  # worker-2, or master: what names no worker
    level: str = ""  # the least
    text: str = ""  # whatever its case

    def __bool__(self) -> bool:
        return bool(self.worker or self.level or self.text)

    def takes(self, line: Line, head: Line | None) -> bool:
        """Whether the line is asked for; `head` is the line that it belongs to."""
        said = head or line
        if self.worker and self.worker != (said.worker or MASTER):
            return False
        # A line that names no level may be a traceback: it passes.
        if self.level and said.level and LEVELS.get(said.level, 20) < LEVELS[self.level]:
            return False
        return not self.text or self.text.lower() in "\n".join(_texts(line)).lower()


def chosen(lines: Iterable[Line], choice: Choice) -> Iterator[Line]:
    """Those asked for, of lines with the oldest first, each as soon as it comes."""
    heads: dict[int | None, Line | None] = {}
    for line in lines:
        if not line.loose:
            if len(heads) > _WAITING_MAX:  # pids of long ago
                heads.clear()
            heads[line.writer] = line if line.pretty else None
        if choice.takes(line, heads.get(line.writer) if line.loose else None):
            yield line


def last_chosen(lines: Iterable[Line], choice: Choice, number: int) -> list[Line]:
    """The last ones asked for, in their order, of lines with the newest first.

    It reads no further than it must.
    """
    found: list[tuple[int, Line]] = []
    waiting: dict[int | None, list[tuple[int, Line]]] = {}  # for their head, which is older

    def take(place: int, line: Line, head: Line | None) -> None:
        if choice.takes(line, head):
            found.append((place, line))

    for place, line in enumerate(lines):
        ours = waiting.setdefault(line.writer, [])
        if line.loose:
            ours.append((place, line))
        if not line.loose or not choice or len(ours) > _WAITING_MAX:
            head = line if line.pretty else None
            for before, loose in waiting.pop(line.writer):
                take(before, loose, head)
        if not line.loose:
            take(place, line, None)
        if len(found) >= number:
            break
    for before, loose in (one for ours in waiting.values() for one in ours):
        take(before, loose, None)
    found.sort(key=lambda one: one[0])
    return [line for _, line in reversed(found[:number])]


def to_json(line: Line) -> str:
    """The object as it was logged; one of its own for a line that is none."""
    if line.fields is not None:
        return json.dumps(line.fields)
    at = None if line.at is None else datetime.fromtimestamp(line.at).astimezone().isoformat()
    facts = {"timestamp": at, "level": line.level, "message": line.text, "pid": line.pid}
    return json.dumps({**facts, "worker": line.worker} | ({"by": line.by} if line.by else {}))


def to_text(line: Line, *, colour: bool) -> str:
    """The pretty form, as LOG_FORMAT=pretty has it; nothing in it steers the terminal."""
    first, *more = (_harmless(text) for text in _texts(line))
    if not line.loose:
        at = "-" if line.at is None else local_time(line.at)
        who = line.by or ("-" if line.pid is None else line.pid)
        first = f"{at} {(line.level or 'info').upper():<8} [{who}] {first}"
    text = "\n".join([first, *more])
    begin = _colour(line) if colour else ""
    return f"{begin}{text}{_RESET}" if begin else text


def _machine(raw: Raw, fields: Mapping[str, Any]) -> Line:
    worker, slot, pid = fields.get("worker"), fields.get("slot"), fields.get("pid")
    if not isinstance(worker, str) or worker == "-":
        worker = f"worker-{slot}" if isinstance(slot, int) and slot else None
    at = raw.at
    if isinstance(said := fields.get("timestamp"), str):
        with contextlib.suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(said).timestamp()
    return Line(
        text=str(fields.get("message", "")),
        at=at,
        level=str(fields.get("level") or "info").lower(),
        pid=pid if isinstance(pid, int) else raw.pid,
        worker=worker,
        fields=fields,
        writer=raw.pid,
    )


def _texts(line: Line) -> list[str]:
    """The message and what is shown below it, in lines."""
    fields = line.fields or {}
    text = _short_request(fields) or line.text
    below = [fields.get("exc_info"), fields.get("stack_info")]
    texts = [text, *(one for one in below if isinstance(one, str))]
    return "\n".join(texts).split("\n")


def _short_request(fields: Mapping[str, Any]) -> str:
    if fields.get("event") != "request":
        return ""
    try:
        return (
            f"{fields['method']} {fields['path']} {fields['status']} "
            f"{float(fields['duration_ms']):.1f}ms {fields['bytes']}B {fields['worker']} "
            f"{str(fields.get('request_id') or '-')[:_REQUEST_ID_LETTERS]}"
        )
    except (KeyError, TypeError, ValueError):  # an application's own event of that name
        return ""


def _colour(line: Line) -> str:
    status = (line.fields or {}).get("status")
    if (line.fields or {}).get("event") == "request" and isinstance(status, int):
        return _COLOURS["error"] if status >= 500 else _COLOURS["warning"] if status >= 400 else ""
    return _COLOURS.get(line.level or "", "")


def _harmless(text: str) -> str:
    return printable(text.expandtabs()).rstrip()


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@lru_cache(maxsize=64)
def _local(at: str) -> float:
    return time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S"))


def of_journal(entry: Mapping[str, Any]) -> Raw:
    """An entry of `journalctl --output=json`."""
    said = entry.get("MESSAGE")
    # Bytes that are no UTF-8 come as a list of numbers, a field given twice as a list of both.
    several = said if isinstance(said, list) and not _are_bytes(said) else [said]
    pid, micro = _number(entry.get("_PID")), _number(entry.get("__REALTIME_TIMESTAMP"))
    return Raw(
        text="\n".join(_text(one) for one in several),
        at=None if micro is None else micro / 1e6,
        pid=pid,
        priority=_number(entry.get("PRIORITY")),
        by=str(entry.get("SYSLOG_IDENTIFIER") or "systemd") if pid == 1 else "",
        cursor=str(entry.get("__CURSOR", "")),
    )


def _are_bytes(said: list[Any]) -> bool:
    return all(isinstance(one, int) and 0 <= one < 256 for one in said)


def _text(said: object) -> str:
    if isinstance(said, list) and _are_bytes(said):
        return bytes(said).decode(errors="replace")
    return "" if said is None else str(said)


def _number(said: object) -> int | None:
    return int(said) if isinstance(said, str) and said.isdecimal() else None
