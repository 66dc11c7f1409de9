"""What the kernel lets this process use: CPUs, memory, and whether it killed for want of memory.

Reads cgroup v2 and v1 (docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html,
scheduler/sched-bwc.html). Every limit on the way from this process's group to the root holds, so
the smallest one counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_V1_UNLIMITED = 1 << 60  # v1 says "no limit" with a huge number of bytes


@dataclass(frozen=True)
class Limits:
    """What this process may use; None: as much as the machine has."""

    affinity: int  # CPUs it may run on
    quota: float | None  # CPUs' worth of time
    memory: int | None  # bytes


class ControlGroup:
    """This process's control groups, as /proc says; `root` is another file system root in tests."""

    def __init__(self, root: Path = Path("/")):
        self._root = root
        self._unified = list(self._groups("cgroup2", ""))
        self._cpu = list(self._groups("cgroup", "cpu"))
        self._memory = list(self._groups("cgroup", "memory"))

    def limits(self) -> Limits:
        """The limits in force now. A file that cannot be read is no limit."""
        quotas = [_cpu_max(_read(group / "cpu.max")) for group in self._unified]
        quotas += [
            _cfs(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))
            for group in self._cpu
        ]
        memory = [_bytes(_read(group / "memory.max")) for group in self._unified]
        memory += [_bytes(_read(group / "memory.limit_in_bytes")) for group in self._memory]
        memory.append(_total_memory(_read(self._root / "proc/meminfo")))
        return Limits(
            affinity=len(os.sched_getaffinity(0)),
            quota=min((quota for quota in quotas if quota is not None), default=None),
            memory=min((limit for limit in memory if limit is not None), default=None),
        )

    def oom_kills(self) -> int | None:
        """How many processes were killed for want of memory: in our group, else on the machine."""
        for group in self._unified[:1]:
            if (kills := _value(_read(group / "memory.events"), "oom_kill")) is not None:
                return kills
        for group in self._memory[:1]:
            if (kills := _value(_read(group / "memory.oom_control"), "oom_kill")) is not None:
                return kills
        return _value(_read(self._root / "proc/vmstat"), "oom_kill")

    def _groups(self, kind: str, controller: str) -> Iterator[Path]:
        """This process's group in one hierarchy and its ancestors, the nearest first."""
        path = _membership(_read(self._root / "proc/self/cgroup"), controller)
        mount = _mount(_read(self._root / "proc/self/mountinfo"), kind, controller)
        if path is None or mount is None:
            return
        inside, point = mount
        top = self._root / point.lstrip("/")
        # In a container the path may be the host's: what lies above the mount is not to be seen.
        relative = path[len(inside) :] if path.startswith(inside) else ""
        group = top / relative.strip("/")
        if not group.is_dir():
            group = top
        while True:
            yield group
            if group == top:
                return
            group = group.parent


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _membership(text: str, controller: str) -> str | None:
    """The path from a line of /proc/self/cgroup, `4:memory:/path`; v2's has no controller."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _mount(text: str, kind: str, controller: str) -> tuple[str, str] | None:
    """Root and mount point of a hierarchy from /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        kind_found, _, options = rest.split(" ", 2)
        if kind_found == kind and (not controller or controller in options.split(",")):
            inside, point = fields.split()[3:5]
            return inside.rstrip("/"), point
    return None


def _cpu_max(text: str) -> float | None:
    quota, _, period = text.strip().partition(" ")
    return None if quota in ("", "max") else int(quota) / int(period)


def _cfs(quota: str, period: str) -> float | None:
    if not quota.strip() or not period.strip() or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _bytes(text: str) -> int | None:
    value = text.strip()
    if value in ("", "max") or int(value) >= _V1_UNLIMITED:
        return None
    return int(value)


def _total_memory(text: str) -> int | None:
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _value(text: str, name: str) -> int | None:
    """The number in a `name number` line."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
