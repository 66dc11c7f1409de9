from __future__ import annotations

import signal

import pytest

from deploy.cluster import exits


@pytest.mark.parametrize(
    ("status", "timed_out", "oom_killed", "reason"),
    [
        (3 << 8, False, False, "exit code 3"),
        (0, False, False, "exit code 0"),
        (signal.SIGKILL, False, False, "signal SIGKILL"),
        (signal.SIGSEGV | 0x80, False, False, "signal SIGSEGV"),  # with a core dump
        (signal.SIGKILL, False, True, "out of memory"),
        (signal.SIGTERM, False, True, "signal SIGTERM"),
        (1 << 8, True, False, "timeout"),
        (signal.SIGKILL, True, True, "timeout"),
        (40, False, False, "signal 40"),
    ],
)
def test_reason(status: int, timed_out: bool, oom_killed: bool, reason: str) -> None:
    assert exits.reason(status, timed_out=timed_out, oom_killed=oom_killed) == reason
