"""A release goes live: built, checked, migrated, linked, rolled out; or all of it is taken back."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.ops import build, preflight
from deploy.ops.as_service import AsService
from deploy.ops.change import Expected, Say
from deploy.ops.check import Check
from deploy.ops.cluster import NotRunningError, RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.installation import Installation, Release
from deploy.ops.live import SECONDS, Live, restart_needed
from deploy.ops.operation import PreflightError
from deploy.ops.service import Service
from deploy.ops.source import Source
from deploy.ops.watch import Watch


class ReleaseChange:
    """Makes the release live; `source` is what it is built from, None when it is there already."""

    def __init__(
        self,
        installation: Installation,
        directories: Directories,
        release: Release,
        source: Source | None,
        *,
        python: str,
        migrate: bool,
        bake: int,
        force: bool = False,
        why: str = "",
        timeout: float = SECONDS,
    ):
        self.name = f"release {release.id}"
        self.release = release
        self.live = Live(
            installation, directories, why=why or self.name, force=force, timeout=timeout
        )
        former = self.live.former
        self.facts = {"release": release.id, "former": former.id if former else ""}
        self._installation = installation
        self._directories = directories
        self._source = source
        self._python = python
        self._migrate = migrate
        self._bake = bake
        self._watch = Watch(directories, bake)
        self._say: Say = print

    def plan(self) -> list[str]:
        """The steps; raises OperationError when it cannot be done."""
        if not os.access(self._installation.releases, os.W_OK):
            raise OperationError(
                f"not allowed to write to {self._installation.releases}",
                "releases are root's: run it with sudo",
            )
        cluster = self._cluster()
        if cluster is not None:
            cluster.check_allowed()
        release, former = self.release, self.live.former
        steps = [self._plan_build(), "check, as the service's user, that it loads"]
        if self._migrate:
            steps.append(
                "apply its migrations, if it brings our application's and DATABASE_URL is set"
            )
        if former is None or former.id != release.id:
            back = f", and previous to {former.id}" if former and self.live.lived() else ""
            steps.append(f"point {self._installation.root / 'current'} to it{back}")
        followers = self.live.followers.plan()
        if cluster is None:
            return [*steps, *followers, "nothing else, as smart-factory is not running"]
        steps.append("reload: every worker is replaced, one after the other")
        steps.append("validate")
        steps += followers
        if self._bake:
            steps.append(f"watch crashes, errors and latency for {self._bake} s")
        return [*steps, "if anything fails, put the former release back"]

    def prepare(self, say: Say) -> None:
        """All that must go well before anything is changed; raises PreflightError."""
        if self._source is not None:
            assert self._source.directory is not None  # noqa: S101 - brought out for this
            build.build(self.release, self._source.directory, self._python, say)
        service = AsService.read(self._directories, self._installation.root)
        try:
            preflight.check(self.release, service, say)
            if self._migrate and preflight.migrates(self.release, self._directories):
                preflight.migrate(self.release, service, say)
            self._refuse_other_kit()
        except PreflightError:
            raise
        except OperationError as error:
            build.fail(self.release, error.message)
            raise PreflightError(f"{self.name}: {error.message}", error.next_step) from None

    def carry_out(self, say: Say) -> None:
        """Flips the links, and has the cluster follow."""
        self._say = say
        self._note()
        former = self.live.former
        if former is None or former.id != self.release.id:
            previous = former if self.live.lived() else self.live.former_previous
            self.live.mark_lived()
            self.live.flip(self.release, previous)
            say(f"{self._installation.root / 'current'} leads to release {self.release.id}")
        elif self._serves_already():
            self.live.served = True
            say(f"Release {self.release.id} is live already")
            return
        self.live.follow(say, start=False)

    def expected(self) -> Expected:
        """The release, whatever else the cluster was asked to be."""
        return self.live.expected()

    def follow_up(self, say: Say) -> list[Check]:
        """The consumers run it, too."""
        return self.live.followers.follow(say)

    def revert(self, say: Say) -> None:
        """The former links, and the former release serves, if it served."""
        self.live.back(say)

    def watch(self, service: Service) -> list[Check]:
        """After the validation; a release that is not live yet is not watched."""
        return self._watch.watch(service, self._say) if self.live.served and self._bake else []

    def _plan_build(self) -> str:
        release = self.release
        if self._source is None:
            if not release.whole:
                raise PreflightError(
                    f"release {release.id} was never built to its end",
                    "build another: smart-factory release PATH|GITREF",
                )
            return f"take release {release.id} as it lies there"
        version = build.check_python(self._python)
        if release.directory.exists():  # of the same second
            raise PreflightError(f"release {release.id} is there already", "try again")
        build.check_space(self._installation)
        return f"build {release.directory} from {self._source.shown} with Python {version}"

    def _note(self) -> None:
        try:
            service = Service.find(self._directories)
        except NotRunningError:
            return
        if self._bake:
            self._watch.note(service)

    def _serves_already(self) -> bool:
        cluster = self._cluster()
        return cluster is not None and cluster.master.release == self.release.id

    def _refuse_other_kit(self) -> None:
        cluster = self._cluster()
        if cluster is None or not restart_needed(cluster, self.release):
            return
        if not self.live.managed:
            raise KitChangedError(self.release)

    def _cluster(self) -> RunningCluster | None:
        try:
            return RunningCluster(self._directories.runtime)
        except NotRunningError:
            return None


class KitChangedError(PreflightError):
    """The release's kit and the running master's speak other protocols, and nobody restarts it."""

    def __init__(self, release: Release):
        scripts = Path("current", "deploy", "scripts")
        super().__init__(
            f"release {release.id}: its kit speaks another protocol than the running master's",
            f"{scripts}/stop.sh, then smart-factory release {release.id}, then {scripts}/start.sh",
        )
