"""systemd's side of its protocols, as far as tests need it: notifications and passed sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import GUNICORN

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7))
# Puts the descriptors where systemd puts them, and becomes the program.
_ACTIVATE = """
import fcntl, os, sys
given, command = [int(fd) for fd in sys.argv[1].split(",")], sys.argv[2:]
copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in given]
for fd in given:
    os.close(fd)
for number, copy in enumerate(copies, 3):
    os.dup2(copy, number)
    os.close(copy)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
os.execv(command[0], command)
"""


@dataclass(frozen=True)
class Message:
    """One notification."""

    pid: int
    text: str
    at: float  # monotonic


class Notifications:
    """The socket behind NOTIFY_SOCKET; a thread reads it as fast as systemd would."""

    def __init__(self, path: str):
        self.path = path
        self.messages: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self._open = threading.Event()
        self._open.set()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def pause(self) -> None:
        """Reads one more message at most, until `go_on`."""
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.go_on()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self._socket.getsockname())  # the reader's end
        self._reader.join()
        self._socket.close()

    def lines(self, *, pid: int | None = None) -> list[str]:
        """What was said so far, line by line, by anyone or by one process."""
        said = [each for each in list(self.messages) if pid in (None, each.pid)]
        return [line for each in said for line in each.text.splitlines()]

    def states(self, *, pid: int | None = None) -> list[str]:
        """The lines that are changes of state, in their order."""
        passing = ("STATUS=", "WATCHDOG=", "MONOTONIC_USEC=")
        return [line for line in self.lines(pid=pid) if not line.startswith(passing)]

    @property
    def status(self) -> str:
        """The last status line; empty before the first."""
        found = [line for line in self.lines() if line.startswith("STATUS=")]
        return found[-1].removeprefix("STATUS=") if found else ""

    def fed(self, *, pid: int | None = None) -> int:
        """How often the watchdog was fed."""
        return self.lines(pid=pid).count("WATCHDOG=1")

    @property
    def hunger(self) -> float:
        """Seconds since the watchdog was fed last; beyond its time systemd ends the service."""
        fed = [each.at for each in list(self.messages) if "WATCHDOG=1" in each.text]
        return time.monotonic() - fed[-1] if fed else 0.0

    def _read(self) -> None:
        while self._open.wait():
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            if not data:
                return
            (_, _, credentials) = ancillary[0]
            pid = _CREDENTIALS.unpack(credentials)[0]
            self.messages.append(Message(pid, data.decode(), time.monotonic()))


@contextlib.contextmanager
def notifications(path: Path | str) -> Iterator[Notifications]:
    """A place to be notified at, for as long as the block lasts."""
    opened = Notifications(str(path))
    try:
        yield opened
    finally:
        opened.close()


def main_process() -> tuple[str, ...]:
    """A program for Cluster: Gunicorn whose watchdog is its own, as systemd says it."""
    set_pid = ': "${WATCHDOG_PID:=$$}"; export WATCHDOG_PID; exec "$0" "$@"'
    return ("/bin/sh", "-c", set_pid, str(GUNICORN))


def activated(sockets: Sequence[socket.socket]) -> tuple[str, ...]:
    """A program for Cluster: Gunicorn with these sockets passed as systemd passes them."""
    given = ",".join(str(each.fileno()) for each in sockets)
    return (sys.executable, "-S", "-c", _ACTIVATE, given, str(GUNICORN))


def descriptors(sockets: Sequence[socket.socket]) -> list[int]:
    """What the program of `activated` has to inherit."""
    for each in sockets:
        os.set_inheritable(each.fileno(), True)
    return [each.fileno() for each in sockets]
