"""Waiting for the master: with a deadline, and with a line that says how far it is."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from deploy.ops.errors import StillGoingError
from deploy.ops.terminal import printable

EVERY = 0.05  # seconds from one look to the next


def looks(seconds: float, every: float = EVERY) -> Iterator[float]:
    """The seconds that have passed, for one look after another; the last is past the deadline."""
    begin = time.monotonic()
    passed = 0.0
    while passed < seconds:
        yield passed
        time.sleep(min(every, seconds - passed))
        passed = time.monotonic() - begin
    yield passed


class Progress:
    """One line on a terminal, rewritten in place; silent where standard error is none."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, text: str) -> None:
        """Puts the text in place of the last one, cut at the edge of the terminal."""
        if not self._on:
            return
        with contextlib.suppress(OSError):  # the terminal may go away while we wait
            sys.stderr.write(f"\r\033[K{printable(text)[: _width() - 1]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leaves the line to what is printed next."""
        self.show("")


def _width() -> int:
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        columns = 0
    return columns or 80


@contextlib.contextmanager
def progress(*, interrupted: str, next_step: str) -> Iterator[Progress]:
    """A progress line for a wait; on Ctrl-C raises StillGoingError with these words."""
    line = Progress()
    try:
        yield line
    except KeyboardInterrupt:
        raise StillGoingError(interrupted, next_step) from None
    finally:
        line.clear()
