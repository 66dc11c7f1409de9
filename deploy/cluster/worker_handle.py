"""A worker as the master sees it."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from deploy.cluster import protocol
from deploy.cluster.wear import Limits, worn
from deploy.state.seat import Seat

if TYPE_CHECKING:
    from deploy.cluster.generation import Generation
    from deploy.cluster.mold_handle import MoldHandle

_READ_BYTES = 64 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerHandle:
    """One worker, from the moment its mold is asked for it until it is reaped."""

    def __init__(
        self,
        mold: MoldHandle,
        generation: Generation,
        *,
        seat: Seat,
        age: int,
        report: int,
        replaces: bool,
    ):
        self.mold = mold
        self.generation = generation
        self.seat = seat
        self.slot = seat.slot
        self.age = age
        self.pid = 0  # until the fork is reported
        self.replaces = replaces  # one that died or was worn, not one of a former release
        self.retiring = ""  # why it is to be replaced
        self.leaving = False
        self.leave_by = 0.0  # monotonic; killed then
        self.aborted = False
        self.ready = False  # it accepts; also of one that drains, which then is `leaving`
        self.passed = False  # a canary's verdict
        self.failure = ""  # why it could not boot, or the canary's failing check
        self.traceback = ""
        self.status = 0  # wait status, at its end
        self.gone = False
        self._report = report  # descriptor; -1 when it has said all
        self._heard = b""
        config, settings = generation.config, generation.settings
        self._limits = Limits.drawn(
            requests=int(config["max_requests"]),
            rss=settings.worker_max_rss,
            lifetime=settings.worker_max_lifetime,
        )

    @property
    def name(self) -> str:
        """As in logs, headers and commands."""
        return self.seat.name

    @property
    def report(self) -> int:
        """The descriptor to wait for; -1 when nothing more will come."""
        return self._report

    @property
    def uptime(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self.seat.born

    @property
    def says_ready(self) -> bool:
        """Whether its row says that it was ready once; on the way out a row says DRAINING."""
        return not math.isnan(self.seat.ready_after_ms)

    def observe(self) -> None:
        """Reads what the worker reports of its boot."""
        while self._report >= 0:
            try:
                heard = os.read(self._report, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                heard = b""
            if not heard:
                self.close()
                return
            *lines, self._heard = (self._heard + heard).split(b"\n")
            for line in lines:
                self._take(line)

    def close(self) -> None:
        """Nothing more is to be heard from it."""
        if self._report >= 0:
            os.close(self._report)
            self._report = -1

    def hangs(self, now: float) -> bool:
        """Whether it has given no sign of life for its timeout; a worker that boots gives none."""
        beat, timeout = self.seat.heartbeat, float(self.generation.config["timeout"])
        return bool(beat and timeout) and now - beat > timeout

    def wear(self) -> str:
        """Why it has served long enough; empty when it has not."""
        rss = _rss(self.pid) if self._limits.rss else 0
        return worn(self._limits, requests=self.seat.requests, rss=rss, uptime=self.uptime)

    def _take(self, line: bytes) -> None:
        try:
            message = protocol.decode(line)
            self.pid = int(message.get("pid", self.pid))
        except (protocol.ProtocolError, TypeError, ValueError) as error:
            self.failure = str(error)
            return
        self.passed = bool(message.get("passed", self.passed))
        self.failure = str(message.get("failed", self.failure))
        self.traceback = str(message.get("traceback", self.traceback))


def _rss(pid: int) -> int:
    """Resident bytes (proc_pid_statm(5)); 0 of a process that is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - 19 µs, once a second each
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
