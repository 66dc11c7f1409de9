"""The CPU time that a server has used, whichever of its processes used it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil


def seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system time of these, and of those of their children that have ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total
