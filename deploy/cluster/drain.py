"""How a worker's application learns that the worker begins to leave.

A long-lived connection is no request, so nobody waits for it; its application must send the client
elsewhere, and while the worker still drains is the time to do so.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

VARIABLE = "WORKER_DRAIN_FD"


class DrainNotice:
    """A pipe whose read end becomes readable, once and for good."""

    def __init__(self) -> None:
        self._ends: list[int] = []

    def open(self) -> int:
        """Makes the pipe, in the worker; the read end, which no program that it starts inherits."""
        read_end, write_end = os.pipe()
        self._ends.append(write_end)
        return read_end

    def give(self) -> None:
        """Gives notice unless that is done; never raises, also within a signal's handler."""
        with contextlib.suppress(IndexError, OSError):
            fd = self._ends.pop()  # in one step, whatever interrupts
            # A forked child may hold the write end too, and then its closing is not seen.
            os.write(fd, b"\n")
            os.close(fd)

    def before(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The act, with the notice given first."""

        @functools.wraps(act)
        def noticed(*args: Any, **kwargs: Any) -> Any:
            self.give()
            return act(*args, **kwargs)

        return noticed
