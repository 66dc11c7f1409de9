"""What every command says to the shell."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3  # or not running
    ROLLED_BACK = 4
    LOCKED = 5  # another operation holds the lock
    PREFLIGHT_FAILED = 6
    INTERRUPTED = 130  # Ctrl-C, as a shell says it
