"""What `status` says: the scoreboard's rows, with what the kernel knows of each process.

It reads shared memory and /proc and asks no process anything: a master or a worker that hangs does
not keep it waiting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deploy.ops import usage
from deploy.ops.cluster import NotRunningError, RunningCluster
from deploy.ops.directories import Directories
from deploy.state import desired
from deploy.state.desired import Desired, DesiredError
from deploy.state.layout import Outcome, State
from deploy.state.reload_record import NEVER, Reload
from deploy.state.scoreboard import Master, Row, Scoreboard
from deploy.state.slot_record import Exit

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One line of the table; None where there is no process, or it is not ours to look into."""

    worker: str
    slot: int
    state: str  # booting, ready, draining or down
    pid: int | None
    generation: int | None
    release: str | None
    uptime_s: float | None
    ready_after_ms: float | None
    restarts: int
    requests: int
    requests_total: int  # with those of the slot's former workers
    requests_per_s: float | None
    busy: int
    cpu_percent: float | None  # of one CPU
    rss: int | None  # bytes
    pss: int | None  # bytes; memory shared by n processes counts 1/n
    last_exit: Exit | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """The cluster at one moment."""

    state: str  # ready, starting, degraded or stopped
    detail: str  # why, when it is not ready
    master: Master | None
    uptime_s: float | None
    ready: int
    workers: list[Worker]
    failing: str = ""  # the check that fails
    reload: Reload = NEVER  # the last, running or done
    desired: Desired | str | None = None  # where it differs from what runs; why it is not readable


def read(directories: Directories, interval: float) -> Status:
    """The cluster whose board is in the directory, rates measured over `interval` seconds."""
    try:
        board = RunningCluster(directories.runtime).board
    except NotRunningError as error:
        return stopped(error)
    before = look(board)
    if interval:
        time.sleep(interval)
    return compare(board, directories, before)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look at the workers, to measure from; a worker is told by its pid and its start."""

    at: float  # monotonic
    requests: Mapping[tuple[int, float], int]
    processes: Mapping[tuple[int, float], psutil.Process | None]


def look(board: Scoreboard, former: Look | None = None) -> Look:
    """The workers now; the CPU time of those that the former look knew is measured on."""
    known = former.processes if former else {}
    rows = {(row.pid, row.started): row for row in _seated(board)}
    return Look(
        at=time.monotonic(),
        requests={worker: row.requests for worker, row in rows.items()},
        processes={
            worker: known[worker] if worker in known else usage.begin(worker[0]) for worker in rows
        },
    )


def compare(board: Scoreboard, directories: Directories, before: Look) -> Status:
    """The cluster now, rates measured since the look."""
    seconds = time.monotonic() - before.at
    workers = [_worker(row, before, seconds) for row in _seated(board)]
    master = board.master()
    slots = range(1, master.wanted + 1)
    seated = {worker.slot for worker in workers if worker.state != "draining"}
    workers += [_down(slot) for slot in slots if slot not in seated]
    workers.sort(key=lambda worker: (worker.slot, worker.state == "draining"))
    ready = len({worker.slot for worker in workers if worker.state == "ready"} & set(slots))
    failing = board.failing
    state, detail = judge(master, ready, workers, failing)
    return Status(
        state=state,
        detail=detail,
        master=master,
        uptime_s=time.time() - master.started,
        ready=ready,
        workers=workers,
        failing=failing,
        reload=board.reload(),
        desired=_differing(directories, master),
    )


def stopped(error: NotRunningError) -> Status:
    """A cluster that does not run."""
    return Status(
        state="stopped",
        detail=error.detail,
        master=error.master,
        uptime_s=None,
        ready=0,
        workers=[],
    )


def judge(master: Master, ready: int, workers: list[Worker], failing: str = "") -> tuple[str, str]:
    """The cluster's state in a word, and why; pure."""
    if ready >= master.wanted:
        return ("degraded", failing) if failing else ("ready", "")
    why = f"{ready} of {master.wanted} workers ready"
    if ready == 0 and not any(worker.last_exit for worker in workers):
        return "starting", why
    return "degraded", f"{why}; {failing}" if failing else why


def differs(asked: Desired, master: Master) -> bool:
    """Whether something else was asked for than what runs; pure.

    How many workers `max` makes, only the master knows.
    """
    if asked.mode not in (None, master.mode):
        return True
    # Fork mode runs one worker, whatever number is kept for cluster mode.
    number = asked.workers if master.mode == "cluster" else None
    return isinstance(number, int) and number != master.wanted


def to_json(status: Status, **more: object) -> str:
    """The facts as one JSON object, with what else was found out."""
    master = status.master
    facts = {
        "state": status.state,
        "detail": status.detail,
        "app": master and master.app_name,
        "mode": master and master.mode,
        "address": master and master.address,
        "release": master and master.release,
        "generation": master and master.generation,
        "master": master and {"pid": master.pid, "uptime_s": _rounded(status.uptime_s)},
        "workers": {"wanted": master.wanted if master else 0, "ready": status.ready},
        "failing": status.failing or None,
        "reload": _reload(status.reload),
        "desired": _desired(status.desired),
        "slots": [asdict(worker) for worker in status.workers],
        **more,
    }
    return json.dumps(facts, indent=2)


def _reload(reload: Reload) -> dict[str, Any] | None:
    if reload.outcome == Outcome.NONE:
        return None
    return {
        "outcome": reload.outcome.name.lower(),
        "phase": reload.phase,
        "reason": reload.reason,
        "release": reload.release,
        "at": reload.ended or reload.started,
    }


def _desired(asked: Desired | str | None) -> dict[str, Any] | None:
    if isinstance(asked, str):
        return {"error": asked}
    return asdict(asked) if asked else None


def _differing(directories: Directories, master: Master) -> Desired | str | None:
    try:
        asked = desired.read(directories.state)
    except DesiredError as error:
        return str(error)
    return asked if differs(asked, master) else None


def _seated(board: Scoreboard) -> list[Row]:
    """The workers that serve; slot 0 is the canary's, which does not."""
    return [row for row in board.rows() if row.slot]


def _worker(row: Row, before: Look, seconds: float) -> Worker:
    worker = row.pid, row.started
    uptime = max(0.0, time.time() - row.started)
    since = before.requests.get(worker, row.requests)
    if seconds < 0.01:  # --interval 0
        rate = row.requests / uptime if uptime else None
    else:
        rate = (row.requests - since) / seconds
    used = usage.measure(before.processes.get(worker), uptime if seconds < 0.01 else None)
    return Worker(
        worker=row.name,
        slot=row.slot,
        state=row.state.name.lower() if row.state != State.FREE else "down",
        pid=row.pid or None,
        generation=row.generation,
        release=row.release,
        uptime_s=_rounded(uptime),
        ready_after_ms=_rounded(row.ready_after_ms),
        restarts=row.restarts,
        requests=row.requests,
        requests_total=row.requests_before + row.requests,
        requests_per_s=_rounded(rate),
        busy=row.busy,
        cpu_percent=_rounded(used.cpu_percent),
        rss=used.rss,
        pss=used.pss,
        last_exit=row.last_exit,
    )


def _down(slot: int) -> Worker:
    return Worker(
        worker=f"worker-{slot}",
        slot=slot,
        state="down",
        pid=None,
        generation=None,
        release=None,
        uptime_s=None,
        ready_after_ms=None,
        restarts=0,
        requests=0,
        requests_total=0,
        requests_per_s=None,
        busy=0,
        cpu_percent=None,
        rss=None,
        pss=None,
        last_exit=None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
