"""Where log lines come from: the unit's journal, or the file that start.sh has them written to."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from deploy.ops.errors import OperationError
from deploy.ops.log_lines import Raw, of_journal

_BLOCK = 1 << 16
_EVERY = 0.2  # seconds from one look at a file to the next


class OutputClosedError(Exception):
    """Nobody reads what we print any more."""


class Source(Protocol):
    """A log, read as a stream from either end."""

    def newest_first(self, since: float | None) -> Iterator[Raw]:
        """The lines there are, back to `since` (Unix time) at least."""

    def oldest_first(self, since: float | None, *, follow: bool) -> Iterator[Raw]:
        """The lines from `since` on (it may begin before); without it, those that come from now on.

        Where `newest_first` was read before, "now" is where that began. `follow`: without end.
        """

    def close(self) -> None:
        """Reads no more."""


class Journal:
    """The journal of one unit, through journalctl(1)."""

    def __init__(self, unit: str):
        self._unit = unit
        self._cursor = ""

    def newest_first(self, since: float | None) -> Iterator[Raw]:
        for raw in self._entries("--reverse", *_since(since), follow=False):
            self._cursor = self._cursor or raw.cursor
            yield raw

    def oldest_first(self, since: float | None, *, follow: bool) -> Iterator[Raw]:
        begin = _since(since)
        if since is None:
            begin = [f"--after-cursor={self._cursor}"] if self._cursor else ["--since=now"]
        if follow:
            begin += ["--follow", "--no-tail"]
        yield from self._entries(*begin, follow=follow)

    def close(self) -> None:
        pass  # each reading ends its own child

    def _entries(self, *words: str, follow: bool) -> Iterator[Raw]:
        command = [
            *("journalctl", "--output=json", "--all", f"--unit={self._unit}", *words),
            "--output-fields=MESSAGE,PRIORITY,_PID,SYSLOG_IDENTIFIER",
        ]
        try:
            # Its hints, as to who may read the journal, go to our standard error.
            child = subprocess.Popen(  # noqa: S603 - systemd's own command
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
        except FileNotFoundError:
            raise OperationError("journalctl is not on this machine", "it needs systemd") from None
        assert child.stdout is not None  # noqa: S101 - it is a pipe
        with child, child.stdout as output:
            try:
                for line in _followed(output) if follow else output:
                    with contextlib.suppress(ValueError):
                        entry = json.loads(line)
                        yield of_journal(entry if isinstance(entry, dict) else {})
            except BaseException:
                child.terminate()
                raise
        if child.returncode:
            raise OperationError(
                f"journalctl ended with exit code {child.returncode}",
                f"see what it says to: journalctl --unit={self._unit}",
            )


class LogFile:
    """A file that processes append to, and that is rotated by rename, or emptied."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise OperationError(
                f"cannot read {path} ({error.strerror})",
                "run the command as root, or as the user that the service runs as",
            ) from None
        self._end = 0  # where newest_first has begun

    def newest_first(self, since: float | None) -> Iterator[Raw]:  # noqa: ARG002 - who reads it stops
        position = os.fstat(self._file.fileno()).st_size
        rest, found_end = b"", False
        while position:
            begin = max(0, position - _BLOCK)
            block = os.pread(self._file.fileno(), position - begin, begin)
            head, *lines = (block + rest).split(b"\n")
            if lines and not found_end:
                # What has no end of line yet is being written: it is the first that comes next.
                self._end = begin + len(block + rest) - len(lines.pop())
                found_end = True
            rest, position = head, begin
            yield from map(_raw, reversed(lines))
        if rest and found_end:
            yield _raw(rest)

    def oldest_first(self, since: float | None, *, follow: bool) -> Iterator[Raw]:
        self._file.seek(self._end if since is None else 0)
        rest = b""
        for block in self._blocks(follow=follow):
            *lines, rest = (rest + block).split(b"\n")
            yield from map(_raw, lines)
            if rest and not block:  # the end of one file
                yield _raw(rest)
                rest = b""

    def close(self) -> None:
        self._file.close()

    def _blocks(self, *, follow: bool) -> Iterator[bytes]:
        """What is in the file, and in those that take its place; nothing at the end of each."""
        while True:
            replaced = self._replaced()  # looked at first: what was written before, is read now
            while block := self._file.read(_BLOCK):
                yield block
            if not follow:
                yield b""
                return
            if replaced:
                yield b""
                self._file.close()
                self._file = self._path.open("rb", buffering=0)
            elif os.fstat(self._file.fileno()).st_size < self._file.tell():
                yield b""
                self._file.seek(0)  # it was emptied
            else:
                _wait(None, _EVERY)

    def _replaced(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False  # renamed, and not made anew yet
        return not os.path.samestat(os.fstat(self._file.fileno()), there)


def _raw(line: bytes) -> Raw:
    return Raw(text=line.decode(errors="replace").rstrip("\r"))


def _since(since: float | None) -> list[str]:
    return [] if since is None else [f"--since=@{int(since)}"]


def _followed(pipe: IO[bytes]) -> Iterator[bytes]:
    """The lines of a pipe that has more to come, each as soon as it is there."""
    rest = b""
    while True:
        _wait(pipe.fileno(), None)
        block = os.read(pipe.fileno(), _BLOCK)
        if not block:
            return
        *lines, rest = (rest + block).split(b"\n")
        yield from lines


def _wait(readable: int | None, seconds: float | None) -> None:
    """Until there is something to read, at most so long.

    Raises OutputClosedError when nobody reads our standard output any more: a write would tell,
    but there may be nothing to write for hours.
    """
    watch = select.poll()
    if readable is not None:
        watch.register(readable, select.POLLIN)
    with contextlib.suppress(OSError, ValueError):  # standard output may be no file, or closed
        watch.register(sys.stdout.fileno(), 0)
    for fd, event in watch.poll(None if seconds is None else seconds * 1000):
        if fd != readable and event & (select.POLLERR | select.POLLHUP):
            raise OutputClosedError
