"""Whether an application that is loaded may be forked.

After a fork only the forking thread lives on, and a socket is shared by both sides: a connection to
a database then carries two conversations at once. So whatever the import has left open is named,
and such an application is imported afresh by each worker instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

# Thread pools of these libraries stop before a fork and start again after it (pthread_atfork(3)).
_FORKABLE_POOLS = re.compile(r"openblas", re.IGNORECASE)
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class OpenFiles:
    """What a process has open at one moment: descriptors with what they stand for."""

    descriptors: dict[int, str]
    native_threads: dict[int, str]  # thread id: its name

    @classmethod
    def now(cls) -> OpenFiles:
        """Of this process."""
        descriptors = {}
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # the listing's own is closed by now
                descriptors[int(entry.name)] = str(entry.readlink())
        threads = {}
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                threads[int(task.name)] = (task / "comm").read_text().strip()
        return cls(descriptors, threads)


def unsafe(before: OpenFiles) -> list[str]:
    """What has been opened since `before` and does not survive a fork, each named; else empty."""
    after = OpenFiles.now()
    return [*_threads(before, after), *_files(before, after)]


def _threads(before: OpenFiles, after: OpenFiles) -> list[str]:
    named = [t for t in threading.enumerate() if t is not threading.main_thread()]
    found = [f"thread {thread.name!r}" for thread in named]
    known = {thread.native_id for thread in named} | before.native_threads.keys()
    native = {tid: name for tid, name in after.native_threads.items() if tid not in known}
    unnamed = after.native_threads.get(os.getpid(), "")
    if native and _FORKABLE_POOLS.search(Path("/proc/self/maps").read_text()):
        # A pool's threads have no name of their own; those of other libraries are still named.
        native = {tid: name for tid, name in native.items() if name != unnamed}
    return found + [f"native thread {name!r}" for name in sorted(set(native.values()))]


def _files(before: OpenFiles, after: OpenFiles) -> list[str]:
    found = []
    for fd, target in sorted(after.descriptors.items()):
        if before.descriptors.get(fd) == target:
            continue
        if target.startswith("socket:"):
            name = _socket_name(fd)
        elif target == "anon_inode:[eventpoll]":
            name = "event loop (epoll)"
        elif _is_sqlite(target):
            name = f"SQLite database {target}"
        else:
            name = None
        if name is not None:
            found.append(name)
    return found


def _socket_name(fd: int) -> str | None:
    with socket.socket(fileno=os.dup(fd)) as opened:
        try:
            peer = opened.getpeername()
        except OSError:
            peer = None
        if peer is None:
            return f"socket at {_address(opened.getsockname())}"
        if opened.family == socket.AF_UNIX and opened.type == socket.SOCK_DGRAM:
            return None  # syslog(3): each datagram stands for itself
        return f"connection to {_address(peer)}"


def _address(address: object) -> str:
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    text = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
    return text.replace("\0", "@") or "an unnamed peer"


def _is_sqlite(path: str) -> bool:
    if path.endswith((".db", ".sqlite", ".sqlite3")):
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False
