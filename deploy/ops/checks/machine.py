"""The machine below the service: systemd, disks, the queue of connections, the clock."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from deploy.ops.checks import database_facts
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context, NoAnswerError, run
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from deploy.ops.checks.unit_facts import known, version
from deploy.ops.systemd import SOCKET

_SYSTEMD_OLDEST, _SYSTEMD_STEPS = 252, 254
_GUNICORN_BACKLOG = 2048
_BACKLOG_LEAST = 1024
_NO_LIMIT = 1 << 16  # systemd's default is the largest number there is: as many as the kernel takes
_WARN_PERCENT, _FAIL_PERCENT = 10, 2
_SKEW_SECONDS = 2.0


def judge_systemd(version: int) -> Finding:
    """Whether it understands what our units say."""
    if version < _SYSTEMD_OLDEST:
        return fail(f"{version}: expected {_SYSTEMD_OLDEST} or later", "upgrade to Debian 12 or 13")
    if version < _SYSTEMD_STEPS:
        return ok(f"{version}, Type=notify understood; RestartSteps needs {_SYSTEMD_STEPS}")
    return ok(f"{version}, Type=notify and RestartSteps understood")


def _systemd(context: Context) -> Finding:
    return judge_systemd(context.once(version))


@dataclass(frozen=True, kw_only=True)
class Room:
    """What is free on one file system, in percent; None: it does not count inodes."""

    path: Path
    space: float
    inodes: float | None
    free: int  # bytes


def judge_room(room: Room) -> Finding:
    """Whether what must be written can be."""
    low = {"space": room.space, "inodes": room.inodes}
    least = min((left for left in low.values() if left is not None), default=100.0)
    if least >= _WARN_PERCENT:
        return ok(f"{room.path}: {room.space:.0f} % free ({room.free / (1 << 30):.1f}G)")
    what = "space" if room.space == least else "inodes"
    detail = f"{room.path}: {least:.0f} % of its {what} free ({room.free / (1 << 30):.1f}G)"
    step = (
        f"make room: df -h {room.path}; journalctl --vacuum-size=1G; smart-factory release --list"
    )
    if least < _FAIL_PERCENT:
        return fail(detail, step)
    return warn(detail, step)


def _disk(context: Context) -> Finding:
    home = context.root if context.installation else context.tree
    journal = [context.file(f"{path}/log/journal") for path in ("/var", "/run")]
    rooms: dict[int, Room] = {}
    for path in (context.directories.state, home, *journal):
        there = next(each for each in (path, *path.parents) if each.exists())
        rooms.setdefault(there.stat().st_dev, _room(there))
    return together([judge_room(room) for room in rooms.values()])


def _room(path: Path) -> Room:
    stat = os.statvfs(path)
    return Room(
        path=path,
        space=100 * stat.f_bavail / max(1, stat.f_blocks),
        inodes=100 * stat.f_favail / stat.f_files if stat.f_files else None,
        free=stat.f_bavail * stat.f_frsize,
    )


def judge_backlog(somaxconn: int, asked: int) -> Finding:
    """Whether as many connections may wait as were asked for."""
    least = max(_BACKLOG_LEAST, asked if asked < _NO_LIMIT else 0)
    if somaxconn < least:
        detail = f"net.core.somaxconn={somaxconn}: the queue of {least} connections is cut to it"
        return warn(detail, f"sysctl -w net.core.somaxconn={max(4096, least)}, and in sysctl.d")
    return ok(f"{somaxconn} connections may wait at a listener")


def _backlog(context: Context) -> Finding:
    path = context.file("/proc/sys/net/core/somaxconn")
    try:
        somaxconn = int(path.read_text())
    except (OSError, ValueError):
        raise CannotLookError(f"{path} cannot be read") from None
    asked = known(context, SOCKET, "Backlog")
    return judge_backlog(somaxconn, int(asked) if asked.isdigit() else _GUNICORN_BACKLOG)


def judge_clock(synchronised: bool | None, skew: float | None, doubt: float) -> Finding:
    """Whether our time is the true one, and the database's; None: not known.

    `skew` is the database's clock less ours in seconds, known to `doubt` seconds.
    """
    apart = skew is not None and abs(skew) - doubt > _SKEW_SECONDS
    if skew is not None and apart:
        return warn(
            f"the database's clock is {skew:+.1f} s from ours",
            "synchronise both: timedatectl set-ntp true",
        )
    if synchronised is False:
        return warn("not synchronised", "timedatectl set-ntp true (Debian: systemd-timesyncd)")
    if synchronised is None and skew is None:
        return skip("timedatectl and the database do not say")
    said = ["synchronised"] if synchronised else []
    said += [f"{skew:+.2f} s from the database's"] if skew is not None else []
    return ok(", ".join(said))


def _clock(context: Context) -> Finding:
    synchronised = None
    if context.systemd:
        with contextlib.suppress(CannotLookError):
            said = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
            synchronised = {"yes": True, "no": False}.get(said.out.strip())
    try:
        facts = context.once(database_facts.facts)
    except (CannotLookError, NoAnswerError):
        return judge_clock(synchronised, None, 0)
    skew = facts.get("skew_s")
    return judge_clock(synchronised, skew, float(facts.get("skew_doubt_s", 0)))


CHECKS = (
    Check("systemd", "machine", "systemd is new enough for the units", _systemd),
    Check("disk", "machine", "state, releases and journal have room", _disk),
    Check("backlog", "machine", "the kernel lets enough connections wait", _backlog),
    Check("clock", "machine", "the clock is right, and the database's too", _clock),
)
