"""How the process learns that it is to leave, when whoever started it says so.

WORKER_DRAIN_FD is the descriptor of a pipe's end that becomes readable then, and stays so.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Mapping

VARIABLE = "WORKER_DRAIN_FD"


def descriptor(environ: Mapping[str, str]) -> int | None:
    """The pipe's end; None without one, and for a number that means something else here."""
    try:
        fd = int(environ[VARIABLE])
        # A program that a worker has started inherits the variable, but not the pipe.
        return fd if stat.S_ISFIFO(os.fstat(fd).st_mode) else None
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def given(fd: int) -> bool:
    """Whether the process has been told; nothing is read, so that all who ask hear it."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
