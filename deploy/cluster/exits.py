"""Which children have ended, and why, in the words of logs and `status`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator


def reason(status: int, *, timed_out: bool, oom_killed: bool) -> str:
    """The reason behind a wait status (wait(2)).

    `timed_out`: the master aborted the worker because its heart stood still. `oom_killed`: the
    kernel has killed a process for want of memory since the last worker was reaped.
    """
    if timed_out:
        return "timeout"
    if not os.WIFSIGNALED(status):
        return f"exit code {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL and oom_killed:
        return "out of memory"
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


def reaped() -> Iterator[tuple[int, int]]:
    """Children that have ended, with their wait status; nobody is waited for."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status


def halt_code(status: int) -> int:
    """The master's exit code for a worker that could not boot: the worker's own, never 0."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) and status else 1
