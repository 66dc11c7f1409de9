"""`rollback release`: back to the release that `previous` leads to, and the same way forth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deploy.ops.bare import works
from deploy.ops.change import Change, Expected, Say
from deploy.ops.check import Check
from deploy.ops.cluster import NotRunningError, RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.installation import Installation, Release
from deploy.ops.live import Live
from deploy.ops.operation import PreflightError
from deploy.state import ledger, request


def change(directories: Directories, undo: bool) -> Change:
    """Swaps `current` and `previous`; `undo`: only when the last change was such a rollback."""
    return RollbackChange(Installation.read(directories.environ), directories, undo=undo)


class RollbackChange:
    """The two links swapped, and what serves follows; nothing is built or migrated."""

    def __init__(self, installation: Installation, directories: Directories, *, undo: bool):
        self.name = "rollback release --undo" if undo else "rollback release"
        # Without the probe: a database that is away must not keep a bad release in service.
        self._live = Live(installation, directories, why=self.name, force=True)
        former, target = self._live.former, self._live.former_previous
        self.facts = {"release": target.id if target else "", "former": former.id if former else ""}
        self._installation = installation
        self._directories = directories
        self._undo = undo
        self._marks: list[tuple[Release, str]] = []  # FAILED as it was

    def plan(self) -> list[str]:
        """The steps; raises OperationError when there is nothing to return to."""
        target = self._target()
        former = self._live.former
        back = f", and previous to {former.id}" if former else ""
        steps = [f"point {self._installation.root / 'current'} to release {target.id}{back}"]
        followers = self._live.followers.plan()
        try:
            RunningCluster(self._directories.runtime).check_allowed()
        except NotRunningError:
            last = "start it" if self._live.managed else "nothing else, as it is not running"
            return [*steps, last, *followers]
        return [
            *steps,
            "reload: every worker is replaced, one after the other",
            "validate",
            *followers,
            "if anything fails, put all of it back",
        ]

    def carry_out(self, say: Say) -> None:
        """Swaps the links, and has the cluster follow, or start."""
        target, former = self._target(), self._live.former
        self._live.flip(target, former)
        say(f"{self._installation.root / 'current'} leads to release {target.id}")
        self._live.follow(say, start=True)
        self._mark(target, "")
        if former is not None and not self._undo:
            self._mark(former, f"rolled back by {request.who()}")

    def expected(self) -> Expected:
        """The release, whatever else the cluster was asked to be."""
        return self._live.expected()

    def follow_up(self, say: Say) -> list[Check]:
        """The consumers run it, too."""
        return self._live.followers.follow(say)

    def revert(self, say: Say) -> None:
        """The links as they were, and what served before serves again."""
        for release, failure in self._marks:
            _set(release, failure)
        self._live.back(say)

    def _target(self) -> Release:
        target, root = self._live.former_previous, self._installation.root
        if self._undo and not may_undo(_events(self._directories)):
            raise OperationError(
                "nothing to undo: the last change of the release was no rollback",
                "see: smart-factory history; another release: smart-factory release ID",
            )
        if target is None:
            raise OperationError(
                f"no previous release: {root / 'previous'} leads nowhere",
                "see what lies there: smart-factory release --list, then release ID",
            )
        former = self._live.former
        if former is not None and target.id == former.id:
            raise PreflightError(f"the previous release, {target.id}, is the current one", _OTHERS)
        if not target.whole:
            raise PreflightError(
                f"the previous release, {target.id}, was never built to its end", _OTHERS
            )
        if not works(target):
            raise PreflightError(
                f"the previous release, {target.id}, has no Python that finds Gunicorn", _OTHERS
            )
        return target

    def _mark(self, release: Release, failure: str) -> None:
        if release.failure != failure:
            self._marks.append((release, release.failure))
            _set(release, failure)


_OTHERS = "take another one: smart-factory release --list, then release ID"


def may_undo(events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the last change of what is live was a rollback to the previous release. Pure."""
    last = ""
    for event in events:
        name = str(event.get("name", ""))
        ours = event.get("event") == "release" or name.startswith("rollback release")
        if ours and event.get("outcome") == "complete":
            last = name
    return last == "rollback release"


def _events(directories: Directories) -> list[dict[str, Any]]:
    try:
        return ledger.read(directories.state, limit=None)
    except OSError as error:
        raise OperationError(
            f"the ledger in {directories.state} cannot be read ({error.strerror})",
            "run the command as the user that the service runs as, or as root",
        ) from None


def _set(release: Release, failure: str) -> None:
    try:
        if failure:
            release.mark("FAILED", failure)
        else:
            release.unmark("FAILED")
    except OSError as error:
        raise OperationError(
            f"cannot write to {release.directory} ({error.strerror})",
            "releases are root's: run it with sudo",
        ) from None
