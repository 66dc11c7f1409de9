"""The runtime directory's files, put back when somebody has deleted them.

Cleaners of temporary directories and careless scripts do that; the service needs none of the files,
but its operator does.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from deploy.state.scoreboard import Scoreboard

_LOOK_SECONDS = 1.0


class RuntimeFiles:
    """The board's file and the pid file of the master `pid`."""

    def __init__(self, board: Scoreboard, pid: int, log: Any):
        self._board = board
        self._pid = pid
        self._log = log
        self._next_look = 0.0  # monotonic

    def keep(self, now: float, pidfile: Any) -> None:
        """Looks once a second, and puts back what is missing; `pidfile` is Gunicorn's, or None."""
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        directory = self._board.path.parent
        try:
            if self._restore(pidfile):
                self._log.warning("[Master] Files in %s were deleted: restored", directory)
        except (OSError, RuntimeError) as error:
            self._log.error("[Master] %s cannot be restored: %s", directory, error)

    def _restore(self, pidfile: Any) -> bool:
        """Whether something was missing.

        The board's memory is shared by processes that keep the deleted file mapped, so that file is
        what has to come back: through the master's descriptor (proc_pid_fd(5)).
        """
        restored = False
        path = self._board.path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # a link to a descriptor that is no more
            path.symlink_to(f"/proc/{self._pid}/fd/{self._board.descriptor}")
            restored = True
        if pidfile is not None and pidfile.fname and not Path(pidfile.fname).exists():
            pidfile.create(self._pid)
            restored = True
        return restored
