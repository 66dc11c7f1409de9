"""Which release is live: the links `current` and `previous`, and what serves following them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from deploy.ops import systemd
from deploy.ops.as_service import managed
from deploy.ops.change import Expected, Say
from deploy.ops.cluster import NotRunningError, PlainServiceError, RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.followers import Followers
from deploy.ops.installation import Installation, Release
from deploy.ops.reload import RefusedError, roll_out
from deploy.ops.waiting import looks
from deploy.state.environment import read_env_file
from deploy.state.layout import Outcome

SECONDS = 300.0  # how long a reload may take
_PROTOCOL = re.compile(r"^VERSION = (\d+)", re.MULTILINE)
_OTHER_KIT = "restart to upgrade the kit"


class Live:
    """One change of what is live, and the way back from it."""

    def __init__(
        self,
        installation: Installation,
        directories: Directories,
        *,
        why: str,
        force: bool = False,
        timeout: float = SECONDS,
    ):
        self.former = installation.linked("current")
        self.former_previous = installation.linked("previous")
        self.served = False  # whether the cluster runs the release that `current` leads to now
        self.followers = Followers(installation.root)
        self._installation = installation
        self._directories = directories
        self._why = why
        self._force = force
        self._timeout = timeout
        self.flipped = False
        self._release = self.former  # that `current` leads to, by our doing
        self._restarted = False
        self._ran = False
        self._reloads = 0  # of the master, before the first of ours

    def lived(self) -> bool:
        """Whether the former release may be returned to: it has served, or does so now."""
        if self.former is None or self.former.lived:
            return self.former is not None
        cluster = self._cluster()
        return (
            cluster is not None
            and cluster.master.release == self._named(self.former)
            and not cluster.board.failing
        )

    def mark_lived(self) -> None:
        """Notes it on the disk, for the days after the links were changed."""
        if self.former is not None and not self.former.lived and self.lived():
            self._mark(self.former, "LIVED")

    def flip(self, release: Release, previous: Release | None) -> None:
        """Points the links there; raises OperationError."""
        self.flipped = True
        self._link("previous", previous)
        self._link("current", release)
        self._release = release

    def follow(self, say: Say, *, start: bool) -> None:
        """Has the cluster serve what `current` leads to; `start`: also where it does not run."""
        cluster = self._cluster()
        if cluster is None:
            self._follow_at_rest(say, start=start)
            return
        self._ran = True
        self._reloads = cluster.board.reload().number
        assert self._release is not None  # noqa: S101 - the links were flipped
        if restart_needed(cluster, self._release) and self.managed:
            say("Its kit speaks another protocol: a restart, behind the socket")
            self._restart()
        else:
            self._reload(cluster, say, force=self._force)
        self.served = True

    def expected(self) -> Expected:
        """The release, by the name that it goes by."""
        if not self.served or self._release is None:
            return Expected(plain=self._plain())
        return Expected(release=self._named(self._release))

    def back(self, say: Say) -> None:
        """The former links, and what served before serves again; raises OperationError."""
        if not self.flipped:
            return
        abandoned = self._release
        self._link("current", self.former)
        self._link("previous", self.former_previous)
        self._release = self.former
        if self._ran:
            try:
                self._return(say)
            except OperationError:
                # What serves is the new release all the same: a restart must not find another.
                if not self._restarted and self._cluster() is not None:
                    self._link("previous", self.former)
                    self._link("current", abandoned)
                raise
        elif self._restarted:
            with contextlib.suppress(systemd.SystemdError):  # nothing served before, either
                self._restart()
        self.followers.back(say)

    def _return(self, say: Say) -> None:
        cluster = self._cluster()
        if cluster is None or self._restarted:
            if not self.managed:
                raise OperationError(
                    "the service does not run", "start it: deploy/scripts/start.sh"
                )
            self._restart()
            return
        for _ in looks(self._timeout):  # an interrupted reload goes on by itself
            if cluster.board.reload().outcome != Outcome.RUNNING:
                break
        record = cluster.board.reload()
        if record.number > self._reloads and record.outcome == Outcome.COMPLETE:
            # Without the probe: a database that is away is no reason to keep what failed.
            self._reload(cluster, say, force=True)

    def _follow_at_rest(self, say: Say, *, start: bool) -> None:
        name = self._release.id if self._release else "nothing"
        if self._plain():
            say(
                f"The plain service runs on; release {name} comes with: "
                "smart-factory rollback bare --undo"
            )
        elif start and self.managed:
            self._restart()
            self.served = True
        else:
            how = "systemctl start smart-factory" if self.managed else "deploy/scripts/start.sh"
            say(f"smart-factory is not running: release {name} from its next start on ({how})")

    def _reload(self, cluster: RunningCluster, say: Say, *, force: bool) -> None:
        try:
            report = roll_out(
                cluster, self._directories, why=self._why, force=force, timeout=self._timeout
            )
        except RefusedError as error:
            if error.report.traceback:
                say(error.report.traceback.rstrip("\n"))
            if _OTHER_KIT in error.report.reason and self.managed:
                self._restart()
                return
            raise
        say(f"Reload complete: release {report.release} in {report.seconds:.1f} s")

    def _restart(self) -> None:
        self._restarted = True
        systemd.job("restart", systemd.SERVICE)

    @property
    def managed(self) -> bool:
        """Whether systemd starts and stops it."""
        return managed(self._installation.root)

    def _plain(self) -> bool:
        try:
            RunningCluster(self._directories.runtime)
        except PlainServiceError:
            return True
        except NotRunningError:
            pass
        return False

    def _named(self, release: Release) -> str:
        """RELEASE in the environment file wins over the file RELEASE in the tree."""
        return read_env_file(self._directories.environ).get("RELEASE") or release.id

    def _link(self, name: str, release: Release | None) -> None:
        try:
            if release is None:
                self._installation.unlink(name)
            else:
                self._installation.link(name, release)
        except OSError as error:
            raise _cannot_write(self._installation.root, error) from None

    def _mark(self, release: Release, name: str) -> None:
        try:
            release.mark(name)
        except OSError as error:
            raise _cannot_write(release.directory, error) from None

    def _cluster(self) -> RunningCluster | None:
        try:
            return RunningCluster(self._directories.runtime)
        except NotRunningError:
            return None


def restart_needed(cluster: RunningCluster, release: Release) -> bool:
    """Whether the master's kit and the release's could not talk; False when it cannot be seen."""
    try:
        # Gunicorn stays in the directory that it was started in, links followed.
        home = Path(f"/proc/{cluster.master.pid}/cwd").resolve(strict=True)
    except OSError:
        return False
    speaks, other = _protocol(home), _protocol(release.directory)
    return None not in (speaks, other) and speaks != other


def _protocol(tree: Path) -> int | None:
    try:
        text = (tree / "deploy" / "cluster" / "protocol.py").read_text()
    except OSError:
        return None
    found = _PROTOCOL.search(text)
    return int(found[1]) if found else None


def _cannot_write(directory: Path, error: OSError) -> OperationError:
    return OperationError(
        f"cannot write to {directory} ({error.strerror})", "releases are root's: run it with sudo"
    )
