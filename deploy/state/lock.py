"""One operation at a time: a lock that the kernel takes from a holder that dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from deploy.state.ownership import give_to_owner

FILE = "operation.lock"


class LockHeldError(RuntimeError):
    """Another operation runs; the message says which, whose and since when."""


@contextlib.contextmanager
def operation(state_directory: Path, name: str) -> Iterator[None]:
    """Holds the lock for the operation `name`; raises LockHeldError at once, or OSError.

    The file is never unlinked: who has it open would hold a lock that nobody else can see.
    """
    state_directory.mkdir(parents=True, exist_ok=True)
    path = state_directory / FILE
    # Python's descriptors are closed on exec, so no process that is started inherits the lock.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        give_to_owner(fd, state_directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeldError(_holder(fd)) from None
        _write(fd, {"pid": os.getpid(), "operation": name, "since": time.time()})
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
            fcntl.flock(fd, fcntl.LOCK_UN)  # also when a forked child has the descriptor
    finally:
        os.close(fd)


def _write(fd: int, holder: dict[str, object]) -> None:
    os.ftruncate(fd, 0)
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        os.pwrite(fd, json.dumps(holder).encode() + b"\n", 0)


def _holder(fd: int) -> str:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        since = datetime.fromtimestamp(holder["since"]).astimezone().isoformat(" ", "seconds")
        who = f"'{holder['operation']}' (pid {holder['pid']}) since {since}"
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        who = "it has not yet said which"  # locked, not yet written
    return f"another operation is running: {who}"
