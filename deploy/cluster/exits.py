"""Why a worker ended, in the words of logs and `status`. Pure."""

from __future__ import annotations

import os
import signal


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
