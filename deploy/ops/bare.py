"""`rollback bare`: plain Gunicorn, without the kit, in the service's place at the same socket.

Both services hold systemd's socket for a moment, so that somebody always accepts.
"""

from __future__ import annotations

import contextlib
import subprocess
import time

from deploy.ops import systemd
from deploy.ops.change import Expected, Say
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError, WrongUseError
from deploy.ops.installation import Installation, Release
from deploy.ops.operation import PreflightError
from deploy.ops.waiting import looks, progress

_LINK = "bare"
_BOOT_SECONDS = 60.0
_STEADY_SECONDS = 3.0  # a worker that cannot boot has taken its master with it by then


class BareChange:
    """The plain service takes over."""

    name = "rollback bare"

    def __init__(self, directories: Directories):
        self._directories = directories
        self._served = False  # whether the service ran
        self._former: Release | None = None  # where the link led
        self._linked = False
        self._started = False

    def plan(self) -> list[str]:
        """The steps; raises WrongUseError without systemd, PreflightError without a release."""
        _need_units()
        if systemd.active(systemd.BARE):
            return [f"nothing: {systemd.BARE} runs already", "validate"]
        installation = _installation(self._directories)
        release = _working(installation)
        return [
            f"point {installation.root / _LINK} to release {release.id}",
            f"start {systemd.BARE}, which accepts at the same socket at once",
            f"stop {systemd.SERVICE}, whose workers finish their requests",
            f"have {systemd.BARE} started at boot, and {systemd.SERVICE} not",
            "validate; if anything fails, go back",
        ]

    def carry_out(self, say: Say) -> None:
        """Starts the plain service, and stops the other when it is well."""
        if systemd.active(systemd.BARE):
            say(f"{systemd.BARE} runs already")
            return
        installation = _installation(self._directories)
        release = _working(installation)
        self._served = systemd.active(systemd.SERVICE)
        self._former = installation.linked(_LINK)
        self._linked = True
        try:
            installation.link(_LINK, release)
        except OSError as error:
            raise OperationError(
                f"cannot write to {installation.root} ({error.strerror})"
            ) from None
        self._started = True
        systemd.job("start", systemd.BARE)
        _await_worker(systemd.BARE)
        say(f"{systemd.BARE} runs release {release.id}")
        systemd.job("stop", systemd.SERVICE)
        say(f"{systemd.SERVICE} has stopped")
        systemd.job("enable", systemd.BARE)
        systemd.job("disable", systemd.SERVICE)

    def expected(self) -> Expected:
        """One plain process."""
        return Expected(plain=True)

    def revert(self, say: Say) -> None:
        """The service starts again, then the plain one stops."""
        if self._started:
            if self._served:
                systemd.job("start", systemd.SERVICE)
                say(f"{systemd.SERVICE} runs again")
            systemd.job("enable", systemd.SERVICE)
            systemd.job("stop", systemd.BARE)
            systemd.job("disable", systemd.BARE)
        if self._linked and self._former is not None:
            with contextlib.suppress(OSError, OperationError):
                _installation(self._directories).link(_LINK, self._former)


class BareReturn:
    """The service takes over again."""

    name = "rollback bare --undo"

    def __init__(self, directories: Directories):
        self._directories = directories
        self._began = False

    def plan(self) -> list[str]:
        """The steps; raises OperationError when the plain service does not run."""
        _need_units()
        if not systemd.active(systemd.BARE):
            raise OperationError(
                f"nothing to undo: {systemd.BARE} does not run",
                "start the service with: systemctl start smart-factory",
            )
        return [
            f"start {systemd.SERVICE}, until all its workers are ready",
            f"stop {systemd.BARE}, whose worker finishes its requests",
            f"have {systemd.SERVICE} started at boot, and {systemd.BARE} not",
            "validate; if anything fails, go back",
        ]

    def carry_out(self, say: Say) -> None:
        """Starts the service, which returns when it is ready, and stops the plain one."""
        self._began = True
        systemd.job("start", systemd.SERVICE)
        say(f"{systemd.SERVICE} is ready")
        systemd.job("enable", systemd.SERVICE)
        systemd.job("stop", systemd.BARE)
        systemd.job("disable", systemd.BARE)
        say(f"{systemd.BARE} has stopped")

    def expected(self) -> Expected:
        """Whatever the cluster was asked to be."""
        return Expected()

    def revert(self, say: Say) -> None:
        """The plain service starts again, if it has stopped; the other must not try for ever."""
        if not self._began:
            return
        systemd.job("start", systemd.BARE)
        _await_worker(systemd.BARE)
        say(f"{systemd.BARE} runs")
        systemd.job("stop", systemd.SERVICE)
        systemd.job("enable", systemd.BARE)
        systemd.job("disable", systemd.SERVICE)


def works(release: Release) -> bool:
    """Whether its interpreter starts and finds Gunicorn."""
    try:
        done = subprocess.run(  # noqa: S603 - the release's own interpreter
            [str(release.python), "-P", "-c", "import gunicorn"],
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _need_units() -> None:
    if not systemd.installed(systemd.BARE):
        why = "there is no such unit" if systemd.booted() else "this machine does not run systemd"
        raise WrongUseError(
            f"rollback bare needs {systemd.BARE}: {why}",
            "use `smart-factory rollback fork`, or install the units: deploy/scripts/install.sh",
        )


def _installation(directories: Directories) -> Installation:
    return Installation.read(directories.environ)


def _working(installation: Installation) -> Release:
    for name in ("current", "previous"):
        release = installation.linked(name)
        if release is not None and works(release):
            return release
    raise PreflightError(
        f"neither current nor previous in {installation.root} has a Python that finds Gunicorn",
        "build one: smart-factory release PATH, or deploy/scripts/install.sh",
    )


def _await_worker(unit: str) -> None:
    """Gunicorn says that it is ready before its worker is: waits until that one has stayed."""
    import psutil

    since, pid = 0.0, 0
    with progress(interrupted="interrupted", next_step="see: smart-factory status") as line:
        for passed in looks(_BOOT_SECONDS):
            main = int(systemd.properties(unit, "MainPID")["MainPID"] or 0)
            try:
                workers = [child.pid for child in psutil.Process(main).children()] if main else []
            except psutil.Error:
                workers = []
            now = time.monotonic()
            if not workers or workers[0] != pid:
                since, pid = now, workers[0] if workers else 0
            if pid and now - since >= _STEADY_SECONDS:
                return
            line.show(f"Waiting for the worker of {unit}, {passed:.0f} s")
    raise OperationError(
        f"waited {_BOOT_SECONDS:g} s for a worker of {unit} that stays",
        f"see why with: journalctl -u {unit} -n 50",
    )
