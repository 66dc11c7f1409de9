"""An alarm that a thread sleeps for and others put off, without waking it (timerfd_create(2))."""

from __future__ import annotations

import ctypes
import os
import select

_CLOCK_MONOTONIC = 1
_BILLION = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Alarm:
    """Goes off once, at the time that was set last. Raises OSError where there is none to be had.

    `put_off` is what is called often, by any thread: it takes two microseconds, and keeps the
    interpreter's lock meanwhile, so that nobody else takes it.
    """

    def __init__(self, *, seconds: float) -> None:
        """`seconds` is how long `put_off` puts it off."""
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._usual = _in(seconds)
        self._usual_reference = ctypes.byref(self._usual)
        self._set = self._libc.timerfd_settime
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def after(self, seconds: float) -> None:
        """It goes off so long from now; whatever was set before does not count any more."""
        self._set(self._fd, 0, ctypes.byref(_in(seconds)), None)

    def put_off(self) -> None:
        """It goes off so long from now as was said at first."""
        self._set(self._fd, 0, self._usual_reference, None)

    def wait(self, seconds: float) -> bool:
        """Returns when it has gone off, or after so long; which of both."""
        if not self._poll.poll(seconds * 1000):
            return False
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # put off in this moment
            return False
        return True


def _in(seconds: float) -> _TimerSpec:
    whole, rest = divmod(max(1, int(seconds * _BILLION)), _BILLION)  # 0 would switch it off
    return _TimerSpec(_TimeSpec(0, 0), _TimeSpec(whole, rest))
