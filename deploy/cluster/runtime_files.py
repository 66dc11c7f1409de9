"""The runtime directory's files, put back when somebody has deleted them.

Cleaners of temporary directories and careless scripts do that; the service needs none of the files,
but its operator does.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from deploy.state.scoreboard import Scoreboard


def restore(board: Scoreboard, pidfile: Any, pid: int) -> bool:
    """Whether something was missing, and is there again; `pidfile` is Gunicorn's, or None.

    The board's memory is shared by processes that keep the deleted file mapped, so that file is
    what has to come back: through the master's descriptor (proc_pid_fd(5)). Raises OSError.
    """
    restored = False
    if not board.path.exists():
        board.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            board.path.unlink()  # a link to a descriptor that is no more
        board.path.symlink_to(f"/proc/{pid}/fd/{board.descriptor}")
        restored = True
    if pidfile is not None and pidfile.fname and not os.path.exists(pidfile.fname):  # noqa: PTH110
        pidfile.create(pid)
        restored = True
    return restored
