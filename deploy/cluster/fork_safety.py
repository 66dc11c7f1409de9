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
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# Thread pools of these libraries stop before a fork and start again after it (pthread_atfork(3)).
_FORKABLE_POOLS = re.compile(r"openblas", re.IGNORECASE)
_GOING_SECONDS = 0.1
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
    threads = _threads(before)
    deadline = time.monotonic() + _GOING_SECONDS
    # A thread that was joined is the kernel's for a moment longer.
    while threads and time.monotonic() < deadline:
        time.sleep(0.005)
        threads = _threads(before)
    return [*threads, *_files(before)]


def _threads(before: OpenFiles) -> list[str]:
    after = OpenFiles.now()
    named = [t for t in threading.enumerate() if t is not threading.main_thread()]
    found = [f"thread {thread.name!r}" for thread in named]
    known = {thread.native_id for thread in named} | before.native_threads.keys()
    native = {tid: name for tid, name in after.native_threads.items() if tid not in known}
    unnamed = after.native_threads.get(os.getpid(), "")
    if native and _FORKABLE_POOLS.search(Path("/proc/self/maps").read_text()):
        # A pool's threads have no name of their own; those of other libraries are still named.
        native = {tid: name for tid, name in native.items() if name != unnamed}
    return found + [f"native thread {name!r}" for name in sorted(set(native.values()))]


def _files(before: OpenFiles) -> list[str]:
    found = []
    for fd, target in sorted(OpenFiles.now().descriptors.items()):
        if before.descriptors.get(fd) == target:
            continue
        if target.startswith("socket:"):
            name = _socket_name(fd)
        elif target.startswith("pipe:"):
            name = "pipe, as to a process that it has started"
        elif target == "anon_inode:[eventpoll]":
            name = "event loop (epoll)"
        elif _is_sqlite(fd, target):
            name = f"SQLite database {target}"
        else:
            name = None
        if name is not None and name not in found:
            found.append(name)
    return found


def _socket_name(fd: int) -> str | None:
    with socket.socket(fileno=os.dup(fd)) as opened:
        if opened.type == socket.SOCK_DGRAM:
            return None  # syslog, statsd: each datagram stands for itself
        try:
            return f"connection to {_address(opened.getpeername())}"
        except OSError:
            return f"socket at {_address(opened.getsockname())}"


def _address(address: object) -> str:
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    text = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
    return text.replace("\0", "@") or "an unnamed peer"


def _is_sqlite(fd: int, path: str) -> bool:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False  # a look would take what is meant for somebody else
    if path.endswith((".db", ".sqlite", ".sqlite3")):
        return True  # SQLite writes its mark with the first table
    with contextlib.suppress(OSError), Path(f"/proc/self/fd/{fd}").open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
    return False
