"""Ctrl-C during an operation: it ends what is under way, so that it can be taken back."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """One of the signals came."""


class Interruptible:
    """While it is entered, the operator's signals raise Interrupted between `begin` and `defer`.

    A signal that is ignored from outside (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self._begun = self._deferred = self._came_early = False
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            former = signal.getsignal(number)
            if former is not signal.SIG_IGN:
                self._former[number] = former
                signal.signal(number, self._came)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def begin(self) -> None:
        """From now on a signal raises Interrupted; one that came already does so at once."""
        self._begun = True
        if self._came_early:
            self._interrupt()

    def pause(self) -> None:
        """Until the next `begin` a signal is kept for it."""
        self._begun = False

    def defer(self) -> None:
        """From now on what is under way comes to its end, which the operator is told."""
        self._deferred = True

    def _came(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's
        if self._deferred:
            with contextlib.suppress(OSError):
                sys.stderr.write("\rThis has to come to an end; please wait.\n")
        elif self._begun:
            self._interrupt()
        else:
            self._came_early = True

    def _interrupt(self) -> None:
        self._deferred = True  # a second one must not end the way back
        raise Interrupted
