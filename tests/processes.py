"""What has become of a process."""

from __future__ import annotations

import contextlib

import psutil


def runs(process: psutil.Process) -> bool:
    """Whether it runs; where init does not reap, a dead entry remains of an orphan."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
