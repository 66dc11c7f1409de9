"""A pid file that outlived its master must not keep the next one from starting.

Gunicorn refuses to start while any process has the pid in the file, also an unrelated one: after a
restart of a container, pids come back within seconds.
"""

from __future__ import annotations

from pathlib import Path

from deploy.state.process import start_ticks
from deploy.state.scoreboard import Scoreboard, ScoreboardError


def discard_stale(path: Path) -> None:
    """Removes the file when the scoreboard beside it shows that its master is not that process."""
    try:
        pid = int(path.read_text())
        board = Scoreboard.open(path.with_name("scoreboard"))
    except (OSError, ValueError, ScoreboardError):
        return  # nothing to compare with: Gunicorn decides
    master = board.master()
    board.close()
    if master.pid == pid and master.start_ticks != start_ticks(pid):
        path.unlink(missing_ok=True)
