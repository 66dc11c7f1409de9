"""The terminal that `monit` draws on: keys one by one, signals noted, and all of it given back."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from types import FrameType

_LFLAG, _IFLAG, _CC = 3, 0, 6  # places in what tcgetattr returns
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_WAKING = (signal.SIGWINCH, signal.SIGCHLD, signal.SIGCONT)
_ESCAPE_SECONDS = 0.05  # so long after an Esc the rest of a key's sequence may come


class Waker:
    """Ends a wait from another thread, or from a signal's handler."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.ended_by = 0  # the signal that asks us to end

    def wake(self) -> None:
        """May be called from anywhere, also when nobody waits."""
        with contextlib.suppress(BlockingIOError):  # full: who waits is awake already
            os.write(self._write, b".")

    def wait(self, seconds: float) -> bytes:
        """What was typed; empty when woken or over time, Ctrl-C when the terminal has gone."""
        source = sys.stdin.fileno()
        ready, _, _ = select.select([source, self._read], [], [], seconds)
        if self._read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)
        return _typed(source) if source in ready else b""

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Within, signals are noted, and nothing is interrupted by one."""
        former = {number: signal.getsignal(number) for number in (*_ENDING, *_WAKING)}
        try:
            for number in former:
                signal.signal(number, self._note)
            # Stopped, we would leave the terminal as nobody else can use it.
            former[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's signature
        if number in _ENDING:
            self.ended_by = number
        self.wake()


@contextlib.contextmanager
def single_keys() -> Iterator[None]:
    """Within, keys come one by one, unseen, Ctrl-C and Ctrl-Z too; afterwards all is as it was."""
    terminal = sys.stdin.fileno()
    former = termios.tcgetattr(terminal)
    ours = termios.tcgetattr(terminal)
    # Without a line, an echo, signals by keys, and a Ctrl-S that holds the output.
    ours[_LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    ours[_IFLAG] &= ~(termios.IXON | termios.ICRNL)
    ours[_CC][termios.VMIN], ours[_CC][termios.VTIME] = 1, 0
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, ours)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, former)


def _typed(source: int) -> bytes:
    try:
        typed = os.read(source, 4096)
        while typed.endswith(b"\x1b") and select.select([source], [], [], _ESCAPE_SECONDS)[0]:
            more = os.read(source, 4096)
            typed += more
            if not more:
                break
    except OSError:  # the terminal is gone
        typed = b""
    return typed or b"\x03"
