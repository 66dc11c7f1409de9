"""What happened to the cluster, one JSON object a line: who, why, and how it ended.

Many processes may append at once: a line is one write to a file opened with O_APPEND, and so
stands whole. A line torn by a full disk or a crash is left alone; the next begins below it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.state.ownership import give_to_owner

FILE, FORMER = "ledger.jsonl", "ledger.1.jsonl"
BYTES_MAX = 5_000_000


def append(
    state_directory: Path, event: str, *, who: str, why: str = "", outcome: str = "", **facts: Any
) -> None:
    """Adds one line; raises OSError, after which the line may stand there torn."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {"at": at, "event": event, "outcome": outcome, "who": who, "why": why} | facts
    line = json.dumps(record, default=str).encode() + b"\n"
    state_directory.mkdir(parents=True, exist_ok=True)
    path = state_directory / FILE
    with _opened(path) as fd:
        if os.fstat(fd).st_size > BYTES_MAX and _rotate(path, fd):
            with _opened(path) as new:
                _write(new, line)
        else:
            _write(fd, line)


def read(state_directory: Path, *, limit: int | None) -> list[dict[str, Any]]:
    """The last `limit` events (None: all that are kept), the newest last; raises OSError.

    Torn lines are skipped.
    """
    # The new file first: if it becomes the former one meanwhile, it is the same file, read once.
    newer = _content(state_directory / FILE)
    former = _content(state_directory / FORMER)
    contents = [former, newer] if former[0] != newer[0] else [newer]
    events = [event for _, raw in contents for event in _events(raw)]
    return events if limit is None else events[max(len(events) - limit, 0) :]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        give_to_owner(fd, path.parent)
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, line: bytes) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        line = b"\n" + line
    if os.write(fd, line) < len(line):
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: a line of {FILE} is torn")


def _rotate(path: Path, fd: int) -> bool:
    """Puts the file aside; False when another process is at it.

    Only who has locked a file, and sees that it is still the current one, may rename it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(fd), path.stat()):
            path.rename(path.with_name(FORMER))
    return True


def _content(path: Path) -> tuple[int | None, bytes]:
    """The inode of a file and what is in it."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_ino, file.read()
    except FileNotFoundError:
        return None, b""


def _events(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in raw.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
