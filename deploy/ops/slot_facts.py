"""What `describe` says of a slot: its rows and its record, with what the kernel knows."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deploy.ops import usage
from deploy.state.layout import State
from deploy.state.scoreboard import Row, Scoreboard
from deploy.state.slot_record import Exit, FailedBoot

if TYPE_CHECKING:
    import psutil

_SLOT = re.compile(r"(?:worker-)?0*([1-9][0-9]{0,3})")


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A worker of the slot; None where there is no process, or it is not ours to look into."""

    pid: int | None
    state: str  # booting, ready or draining
    generation: int
    release: str
    started: float  # Unix time
    uptime_s: float
    ready_after_ms: float | None
    requests: int
    busy: int
    heartbeat_age_s: float | None  # None before the first
    overdue_s: float | None  # how long a request has run that is over its time
    cpu_percent: float | None  # of one CPU
    rss: int | None  # bytes
    pss: int | None  # bytes; memory shared by n processes counts 1/n
    threads: int | None
    open_files: int | None


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The slot at one moment."""

    worker: str
    slot: int
    state: str  # that of the worker that stays: booting, ready; draining or down without one
    restarts: int
    requests_before: int  # answered by the slot's former workers
    requests_total: int
    workers: list[Occupant]  # the newest first
    exits: list[Exit]  # likewise
    failed_boot: FailedBoot | None


def find(board: Scoreboard, name: str) -> int:
    """The slot that is meant by `worker-2` or `2`; raises ValueError, naming what there is.

    A slot above the number of workers is there as long as somebody drains in it.
    """
    wanted = board.master().wanted
    slots = {*range(1, wanted + 1), *(row.slot for row in board.rows() if row.slot)}
    found = _SLOT.fullmatch(name)
    if not found or int(found[1]) not in slots:
        last = max(slots, default=1)
        raise ValueError(f"{name!r}: expected worker-1 to worker-{last}, or 1 to {last}")
    return int(found[1])


def read(board: Scoreboard, slot: int, interval: float) -> Slot:
    """The slot, its processes' CPU measured over `interval` seconds."""
    processes = {row.pid: usage.begin(row.pid) for row in board.rows() if row.slot == slot}
    if interval and any(processes.values()):
        time.sleep(interval)
    rows = [row for row in board.rows() if row.slot == slot]
    record = board.slot(slot)
    before = record.requests
    return Slot(
        worker=f"worker-{slot}",
        slot=slot,
        state=state_of(rows, down=slot <= board.master().wanted),
        restarts=record.restarts,
        requests_before=before,
        requests_total=before + sum(row.requests for row in rows),
        workers=[_occupant(row, processes.get(row.pid), measured=interval > 0) for row in rows],
        exits=record.exits,
        failed_boot=record.failed_boot,
    )


def state_of(rows: Sequence[Row], *, down: bool) -> str:
    """The state of who stays in the slot; pure. `down`: that somebody should."""
    staying = [row.state.name.lower() for row in rows if row.state != State.DRAINING]
    if staying:
        return staying[0]
    return "down" if down or not rows else "draining"


def to_json(slot: Slot) -> str:
    """The facts as one JSON object."""
    return json.dumps(asdict(slot), indent=2)


def _occupant(row: Row, process: psutil.Process | None, *, measured: bool) -> Occupant:
    uptime = max(0.0, time.time() - row.started)
    now = time.monotonic()
    used = usage.measure(process, None if measured else uptime)
    counts = usage.count(process)
    return Occupant(
        pid=row.pid or None,
        state=row.state.name.lower(),
        generation=row.generation,
        release=row.release,
        started=row.started,
        uptime_s=round(uptime, 1),
        ready_after_ms=None if row.ready_after_ms is None else round(row.ready_after_ms, 1),
        requests=row.requests,
        busy=row.busy,
        heartbeat_age_s=round(now - row.heartbeat, 1) if row.heartbeat else None,
        overdue_s=round(now - row.overdue, 1) if row.overdue else None,
        cpu_percent=None if used.cpu_percent is None else round(used.cpu_percent, 1),
        rss=used.rss,
        pss=used.pss,
        threads=counts.threads,
        open_files=counts.open_files,
    )
