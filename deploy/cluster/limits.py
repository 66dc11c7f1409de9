"""What this machine and its database grant the workers: says when they want more."""

from __future__ import annotations

import subprocess
from typing import Any

from deploy.cluster.capacity import available_cpus, cpu_warning, memory_warning
from deploy.cluster.cgroup import ControlGroup
from deploy.cluster.connections import start_check


class Limits:
    """The limits of one master, who logs to `log`."""

    def __init__(self, log: Any):
        self._log = log
        self._control_group = ControlGroup()
        self._oom_kills = self._control_group.oom_kills() or 0
        self._connection_check: subprocess.Popen[str] | None = None

    def check(self, workers: int, *, worker_max_rss: int) -> None:
        """Warns of CPUs and memory at once, of connections when Postgres has answered.

        `worker_max_rss` in bytes, 0 for no limit.
        """
        limits = self._control_group.limits()
        self._warn(cpu_warning(workers, available_cpus(limits.affinity, limits.quota)))
        self._warn(memory_warning(workers, worker_max_rss, limits.memory))
        try:
            self._connection_check = start_check(workers)
        except OSError:  # the release's interpreter is gone: the warning can be done without
            self._connection_check = None

    def reaped(self, pid: int) -> bool:
        """Whether the child was the check of connections; its answer is then logged."""
        check = self._connection_check
        if check is None or check.pid != pid or check.stdout is None:
            return False
        self._connection_check = None
        with check.stdout as output:
            self._warn(output.read().strip())
        return True

    def oom_killed(self) -> bool:
        """Whether the kernel has killed for want of memory since the last call."""
        before = self._oom_kills
        self._oom_kills = self._control_group.oom_kills() or 0
        return self._oom_kills > before

    def _warn(self, warning: str | None) -> None:
        if warning:
            self._log.warning("[Master] %s", warning, extra={"event": "capacity.warning"})
