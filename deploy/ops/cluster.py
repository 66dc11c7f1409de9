"""The running cluster as a command sees it: a board to read and a master to signal."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from deploy.ops import systemd
from deploy.ops.errors import LockedError, OperationError
from deploy.ops.exit_code import ExitCode
from deploy.state import lock
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Master, Scoreboard, ScoreboardError


class NotRunningError(OperationError):
    """No cluster runs here."""

    exit_code: ClassVar[int] = ExitCode.DEGRADED

    def __init__(self, detail: str, master: Master | None = None, *, next_step: str = ""):
        start = "start it, or name its RUNTIME_DIRECTORY"
        super().__init__(f"smart-factory is {detail}", next_step or start)
        self.detail = detail
        self.master = master  # the one that has left its board behind


class PlainServiceError(NotRunningError):
    """The plain service runs in the cluster's place."""

    def __init__(self, master: Master | None = None):
        back = "back with: smart-factory rollback bare --undo"
        super().__init__(
            f"not running: the plain service smart-factory-bare runs; {back}",
            master,
            next_step="smart-factory rollback bare --undo",
        )


# Where the units keep it: another cluster on the machine has nothing to do with them.
_RUNTIME_OF_UNITS = Path("/run/smart-factory")


def not_running(
    detail: str, runtime_directory: Path, master: Master | None = None
) -> NotRunningError:
    """The error, which says so when the plain service runs instead."""
    if runtime_directory == _RUNTIME_OF_UNITS:
        with contextlib.suppress(systemd.SystemdError):
            if systemd.active(systemd.BARE):
                return PlainServiceError(master)
    return NotRunningError(detail, master)


class RunningCluster:
    """The cluster whose board is in `runtime_directory`; raises NotRunningError."""

    def __init__(self, runtime_directory: Path):
        self._path = runtime_directory / "scoreboard"
        try:
            self._board = Scoreboard.open(self._path)
        except (OSError, ScoreboardError) as error:
            why = "no scoreboard" if isinstance(error, FileNotFoundError) else str(error)
            detail = f"not running ({why} in {runtime_directory})"
            raise not_running(detail, runtime_directory) from None
        self._inode = self._path_inode()
        self.master = self._board.master()  # whom the command talks to, from begin to end
        if start_ticks(self.master.pid) != self.master.start_ticks:
            gone = f"not running (its master, pid {self.master.pid}, is gone)"
            raise not_running(gone, runtime_directory, self.master)

    @property
    def board(self) -> Scoreboard:
        """The board that is in place now, which a master may have made anew."""
        inode = self._path_inode()
        if inode not in (None, self._inode):
            with contextlib.suppress(OSError, ScoreboardError):
                board = Scoreboard.open(self._path)
                self._board.close()
                self._board, self._inode = board, inode
        return self._board

    @property
    def alive(self) -> bool:
        """Whether the master that the command talks to still lives, and the board is its own."""
        owner = self.board.master()
        ours = (self.master.pid, self.master.start_ticks)
        return (owner.pid, owner.start_ticks) == ours and start_ticks(ours[0]) == ours[1]

    def check_allowed(self) -> None:
        """Raises OperationError when the master may not be signalled; sends nothing."""
        self._signal(0)

    def reload(self) -> None:
        """Has the master reload; a request that was left tells it the rest."""
        self._signal(signal.SIGHUP)

    def wake(self) -> None:
        """Has the master look at what is desired: any signal wakes its loop, this one does no more.

        It looks for workers to reap, and finds none.
        """
        self._signal(signal.SIGCHLD)

    def _signal(self, number: int) -> None:
        pid = self.master.pid
        if not self.alive:
            return  # who waits for it will see that
        try:
            os.kill(pid, number)
        except PermissionError:
            raise OperationError(
                f"not allowed to signal the master, pid {pid}",
                "run the command as the user that the service runs as, or as root",
            ) from None
        except ProcessLookupError:
            pass

    def _path_inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except OSError:
            return None


@contextlib.contextmanager
def one_operation(state_directory: Path, name: str) -> Iterator[None]:
    """Holds the operators' lock; raises LockedError, or OperationError where it cannot be had."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.operation(state_directory, name))
        except lock.LockHeldError as error:
            raise LockedError(str(error), "wait until it has ended, then try again") from None
        except OSError as error:
            raise cannot_write(state_directory, error) from None
        yield


def cannot_write(directory: Path, error: OSError) -> OperationError:
    """What to tell about a directory that takes no file."""
    why = error.strerror or str(error)
    user = "run the command as the user that the service runs as"
    step = user if isinstance(error, PermissionError) else "make room or mend it, then try again"
    return OperationError(f"cannot write to {directory} ({why})", step)
