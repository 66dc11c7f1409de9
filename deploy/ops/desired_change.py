"""Another mode or number of workers: kept in desired.json, and followed by what runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy.ops import former, scale
from deploy.ops.change import Expected, Say
from deploy.ops.cluster import NotRunningError, RunningCluster, cannot_write
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.reload import RefusedError, roll_out
from deploy.ops.terminal import counted
from deploy.ops.waiting import looks
from deploy.state import desired
from deploy.state.desired import Desired, DesiredError
from deploy.state.layout import Outcome

SECONDS = 300.0  # how long a reload may take
_SCALE_SECONDS = 60.0


class DesiredChange:
    """Asks for something else, as `asked` makes it of what is asked for now.

    `keep`: a copy of desired.json goes there first, unless there is one.
    """

    def __init__(
        self,
        name: str,
        directories: Directories,
        asked: Callable[[Desired], Desired],
        *,
        keep: Path | None = None,
        why: str = "",
        timeout: float = SECONDS,
    ):
        self.name = name
        self._directories = directories
        self._asked = asked
        self._keep = keep
        self._why = why or name
        self._timeout = timeout
        self._before = b""  # desired.json's content
        self._mode = ""  # that ran
        self._copied = False  # whether the copy is this operation's
        self._written = False
        self._followed = False  # whether what runs was told, and may have changed

    def plan(self) -> list[str]:
        """The steps; raises OperationError for a desired.json that cannot be read."""
        now = self._kept()
        target = self._asked(now)
        steps = []
        if self._keep is not None and not self._keep.exists():
            steps.append(f"keep a copy of desired.json as {self._keep.name}")
        steps.append(f"ask for {words(target)}, now and after a restart")
        cluster = self._cluster()
        if cluster is None:
            return [*steps, "nothing else, as smart-factory is not running"]
        cluster.check_allowed()
        if reloads(now, target, cluster.master.mode):
            steps.append("reload: every worker is replaced, one after the other")
        else:
            steps.append("no reload: the master follows by itself")
        return [*steps, "validate; if anything fails, put all of it back"]

    def carry_out(self, say: Say) -> None:
        """Writes what is asked for, and has the running cluster follow."""
        now = self._kept()
        target = self._asked(now)
        try:
            self._before = former.content(self._directories.state)
            if self._keep is not None and not self._keep.exists():
                former.put(self._keep, self._before)
                self._copied = True
            self._written = True
            self._write(target)
        except OSError as error:
            raise cannot_write(self._directories.state, error) from None
        cluster = self._cluster()
        if cluster is None:
            say(f"smart-factory is not running: {words(target)} from its next start on")
            return
        self._mode = cluster.master.mode
        if reloads(now, target, self._mode):
            self._roll_out(cluster, say)
        elif target.workers != now.workers and self._mode != "fork":
            self._rescale(cluster, target, say)
        else:
            say(f"Nothing to change: {words(target)} already")

    def expected(self) -> Expected:
        """What was asked for, as far as it says it; the rest is the environment's."""
        target = self._kept()
        cluster = self._cluster()
        mode = target.mode or (cluster.master.mode if cluster else None)
        number = target.workers if isinstance(target.workers, int) else None
        return Expected(workers=1 if mode == "fork" else number, mode=target.mode)

    def revert(self, say: Say) -> None:
        """The former desired.json, and what runs follows it, if it has followed the other."""
        self._put_back()
        cluster = self._cluster()
        if cluster is None or not self._followed:
            return
        for _ in looks(self._timeout):  # an interrupted reload goes on by itself
            if cluster.board.reload().outcome != Outcome.RUNNING:
                break
        former_state = self._kept()
        if cluster.board.master().mode != self._mode:
            self._roll_out(cluster, say)
        elif self._mode != "fork":
            self._rescale(cluster, former_state, say)

    def _write(self, target: Desired) -> None:
        desired.write(self._directories.state, target)

    def _put_back(self) -> None:
        try:
            if self._written:
                former.restore(self._directories.state, self._before)
            if self._copied and self._keep is not None:
                self._keep.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self._directories.state, error) from None

    def _roll_out(self, cluster: RunningCluster, say: Say) -> None:
        self._followed = True
        try:
            report = roll_out(cluster, self._directories, why=self._why, timeout=self._timeout)
        except RefusedError as error:
            self._followed = False  # it has changed nothing, or changed it back
            if error.report.traceback:
                say(error.report.traceback.rstrip("\n"))
            raise
        say(f"Reload complete: release {report.release} in {report.seconds:.1f} s")

    def _rescale(self, cluster: RunningCluster, target: Desired, say: Say) -> None:
        self._followed = True
        report = scale.follow(cluster, target.workers, min(_SCALE_SECONDS, self._timeout))
        wanted = counted(report.workers or 0)
        if report.state != "ready":
            raise OperationError(f"waited for {wanted}: {report.ready} ready")
        say(f"{wanted}, {report.ready} ready in {report.seconds:.1f} s")

    def _kept(self) -> Desired:
        try:
            return desired.read(self._directories.state)
        except DesiredError as error:
            raise OperationError(str(error), "mend or remove the file, then try again") from None

    def _cluster(self) -> RunningCluster | None:
        try:
            return RunningCluster(self._directories.runtime)
        except NotRunningError:
            return None


class DesiredReturn(DesiredChange):
    """Puts the copy of desired.json back that a former change has kept in `copy`."""

    def __init__(
        self, name: str, directories: Directories, copy: Path, *, why: str = "", timeout: float
    ):
        super().__init__(name, directories, self._copied_state, why=why, timeout=timeout)
        self._copy = copy
        self._content = b""

    def carry_out(self, say: Say) -> None:
        """As any other; then the copy is of no use any more."""
        super().carry_out(say)
        self._copy.unlink(missing_ok=True)

    def _copied_state(self, _: Desired) -> Desired:
        try:
            return desired.read_file(self._copy)
        except DesiredError as error:
            raise OperationError(str(error), "remove the file, then use switch or scale") from None

    def _write(self, target: Desired) -> None:  # noqa: ARG002 - the file itself is put back
        self._content = self._copy.read_bytes()
        former.restore(self._directories.state, self._content)

    def _put_back(self) -> None:
        super()._put_back()
        if self._written and self._content and not self._copy.exists():
            former.put(self._copy, self._content)


def reloads(now: Desired, target: Desired, running: str) -> bool:
    """Whether it takes a reload: the master reads the mode at a reload only. Pure.

    Without a mode it is the environment's, which the master knows.
    """
    if target.mode is None:
        return now.mode is not None
    return target.mode != running


def words(asked: Desired) -> str:
    """`fork mode`, `cluster mode with 3 workers`, `1 worker`. Pure."""
    number = asked.workers
    many = counted(number) if isinstance(number, int) else f"{number} workers"
    if asked.mode is None:
        return many if number is not None else "what the environment says"
    with_them = f" with {many}" if asked.mode == "cluster" and number is not None else ""
    return f"{asked.mode} mode{with_them}"
