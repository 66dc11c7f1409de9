"""The releases on disk: the one that is live, the one to return to, what was left behind."""

from __future__ import annotations

import fcntl
import re
from dataclasses import dataclass
from pathlib import Path

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import (
    CannotLookError,
    Context,
    cluster,
    run,
    service_identity,
)
from deploy.ops.checks.finding import Finding, fail, ok, skip, warn
from deploy.ops.installation import Installation, Release
from deploy.state.lock import FILE as LOCK

_PROTOCOL = re.compile(r"^VERSION = (\d+)", re.MULTILINE)
_BACK = "smart-factory rollback release; when Python is broken: deploy/scripts/rollback.sh release"


@dataclass(frozen=True, kw_only=True)
class Live:
    """A release as it lies there; `broken` says why its interpreter does not work."""

    id: str
    whole: bool
    lived: bool
    failure: str
    broken: str


def judge_current(live: Live | None) -> Finding:
    """Whether what `current` leads to can be started and reloaded."""
    if live is None:
        return fail("`current` leads nowhere", _BACK)
    if not live.whole:
        return fail(f"current: {live.id} was never built to its end", _BACK)
    if live.failure:
        return fail(f"current: {live.id} has failed: {live.failure}", _BACK)
    if live.broken:
        return fail(f"current: {live.id}: its Python does not work: {live.broken}", _BACK)
    return ok(f"current: {live.id}{'' if live.lived else ', not validated yet'}")


def judge_previous(live: Live | None, releases: int) -> Finding:
    """Whether `rollback release` has somewhere to return to."""
    if live is None:
        if releases <= 1:
            return skip("the first release: there is none to return to yet")
        return warn("`previous` leads nowhere: `rollback release` refuses", "a release sets it")
    step = "smart-factory release --list; smart-factory release ID makes another one live"
    if live.failure or not live.whole:
        return warn(f"previous: {live.id}: {live.failure or 'never built to its end'}", step)
    if live.broken:
        return warn(f"previous: {live.id}: its Python does not work: {live.broken}", step)
    if not live.lived:
        return warn(f"previous: {live.id} has never served", step)
    return ok(f"previous: {live.id}")


def _current(context: Context) -> Finding:
    if context.installation is None and context.environ.get("SMART_FACTORY_ROOT"):
        detail = f"no installation in {context.root} (SMART_FACTORY_ROOT)"
        return fail(detail, "install it with: sudo deploy/scripts/install.sh")
    return judge_current(_live(context, _installation(context).linked("current")))


def _previous(context: Context) -> Finding:
    installation = _installation(context)
    whole = sum(release.whole for release in installation.all())
    return judge_previous(_live(context, installation.linked("previous")), whole)


def _installation(context: Context) -> Installation:
    if context.installation is None:
        raise CannotLookError("for an installation; this is a checkout")
    return context.installation


def _live(context: Context, release: Release | None) -> Live | None:
    if release is None:
        return None
    broken = ""
    try:
        # As the service's user: what root may run, it may perhaps not.
        ran = run(
            [str(release.python), "-P", "-c", "import gunicorn"],
            directory=Path("/"),
            identity=service_identity(context),
        )
        broken = ran.said if ran.code else ""
    except CannotLookError as error:
        broken = str(error)
    return Live(
        id=release.id,
        whole=release.whole,
        lived=release.lived,
        failure=release.failure,
        broken=broken,
    )


def judge_running(
    running: str, current: str, spoken: int | None, next_spoken: int | None
) -> Finding:
    """Whether what serves is what lies at `current`, and a reload onto it would be possible.

    `spoken` and `next_spoken` are the protocols of the running master's kit and of current's.
    """
    if spoken is not None and next_spoken is not None and spoken != next_spoken:
        detail = f"the running kit speaks protocol {spoken}, {current}'s speaks {next_spoken}"
        step = "systemctl restart smart-factory: a reload is refused, the socket keeps connections"
        return warn(detail, step)
    if running != current:
        return warn(f"{running} serves, `current` is {current}", "smart-factory reload")
    return ok(f"{running} serves")


def _running(context: Context) -> Finding:
    current = _installation(context).linked("current")
    status = context.once(cluster)
    if current is None or status.master is None or status.state == "stopped":
        return skip("the service does not run")
    try:
        # Gunicorn stays in the directory it was started in, the link resolved.
        home = Path(f"/proc/{status.master.pid}/cwd").resolve(strict=True)
    except OSError:
        home = Path("/")
    return judge_running(
        status.master.release, current.id, _protocol(home), _protocol(current.directory)
    )


def _protocol(tree: Path) -> int | None:
    """What master and mold of this tree speak to each other; None when it cannot be seen."""
    try:
        found = _PROTOCOL.search((tree / "deploy" / "cluster" / "protocol.py").read_text())
    except OSError:
        return None
    return int(found[1]) if found else None


def judge_leftovers(building: list[str], *, busy: bool) -> Finding:
    """Whether interrupted builds take room."""
    if building and not busy:
        step = f"rm -r {building[0]} in ROOT/releases; the next release removes it, too"
        return warn(f"builds that were interrupted: {', '.join(building)}", step)
    return ok("a release is being built" if building else "none")


def _leftovers(context: Context) -> Finding:
    building = [each.id for each in _installation(context).all() if not each.whole]
    return judge_leftovers(building, busy=_locked(context.directories.state / LOCK))


def _locked(path: Path) -> bool:
    """Whether an operation holds the lock: asked for and given back at once, never waited for."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


CHECKS = (
    Check("release", "releases", "`current` leads to a release that works", _current),
    Check("previous", "releases", "there is a release to return to", _previous),
    Check("running-release", "releases", "what serves is what is at `current`", _running),
    Check("leftovers", "releases", "no interrupted builds lie about", _leftovers),
)
