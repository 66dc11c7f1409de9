"""How the work is spread over the workers while they are looked at."""

from __future__ import annotations

import time
from collections.abc import Mapping

from deploy.ops.check import Check
from deploy.ops.service import Service
from deploy.ops.waiting import Progress, looks
from deploy.state.layout import State

NAME = "cpu"
SECONDS = 2.0  # at least
_LEAST = 20.0  # per cent of one CPU, of all workers together
_SHARE = 0.1  # of the mean


class Spread:
    """The CPU time of each worker, from now on."""

    def __init__(self, service: Service):
        self._service = service
        self._began = time.monotonic()
        self._before = self._seconds()

    def check(self, line: Progress) -> Check:
        """Looks again, SECONDS after the beginning at the earliest."""
        if len(self._before) < 2:
            return judge(dict.fromkeys(self._before, 0.0))
        for passed in looks(max(0.0, self._began + SECONDS - time.monotonic())):
            line.show(f"Validation: watching the CPU, {passed:.1f} s")
        passed = time.monotonic() - self._began
        used = {
            name: 100 * (seconds - self._before[name]) / passed
            for name, seconds in self._seconds().items()
            if name in self._before
        }
        return judge({name.partition(" ")[0]: percent for name, percent in used.items()})

    def _seconds(self) -> dict[str, float]:
        import psutil

        board = self._service.board
        found = {}
        for row in board.rows() if board else ():
            if row.slot and row.state == State.READY:
                try:
                    times = psutil.Process(row.pid).cpu_times()
                except psutil.Error:
                    continue
                found[f"{row.name} {row.pid}"] = times.user + times.system
        return found


def judge(used: Mapping[str, float]) -> Check:
    """`used`: per cent of a CPU, by worker. Pure."""
    total = sum(used.values())
    if len(used) < 2:
        return Check(name=NAME, ok=None, detail="one worker: nothing to spread")
    if total < _LEAST:
        return Check(name=NAME, ok=None, detail=f"too idle to tell ({total:.0f}% of a CPU)")
    mean = total / len(used)
    idle = [f"{name} {part:.1f}%" for name, part in used.items() if part < _SHARE * mean]
    if idle:
        detail = f"{', '.join(idle)}, where the mean is {mean:.0f}%"
        return Check(name=NAME, ok=False, detail=detail)
    each = f"{min(used.values()):.0f}% to {max(used.values()):.0f}%"
    return Check(name=NAME, ok=True, detail=f"{len(used)} workers at {each} of a CPU each")
