"""What Linux offers a parent beyond fork and wait (prctl(2)); Python has no call for it."""

from __future__ import annotations

import ctypes
import os
import signal
import time

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Makes orphaned descendants this process's own children; False where the kernel cannot."""
    return _prctl(_SET_CHILD_SUBREAPER, 1)


def wait_for_parent(pid: int, *, seconds: float) -> bool:
    """Whether `pid` has become this process's parent within the time."""
    deadline = time.monotonic() + seconds
    while os.getppid() != pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0005)
    return True


def die_with_parent(pid: int, number: int = signal.SIGTERM) -> bool:
    """This process gets the signal when its parent `pid` ends; False when that has happened."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, number)
    return os.getppid() == pid


def _prctl(option: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # not Linux
        return False
