"""What `status` says: the scoreboard's rows, with what the kernel knows of each process.

It reads shared memory and /proc and asks no process anything: a master or a worker that hangs does
not keep it waiting.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil

from deploy.state.layout import State
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Exit, Master, Row, Scoreboard, ScoreboardError


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


def read(runtime_directory: Path, interval: float) -> Status:
    """The cluster whose board is in the directory, rates measured over `interval` seconds."""
    path = runtime_directory / "scoreboard"
    try:
        board = Scoreboard.open(path)
    except (OSError, ScoreboardError) as error:
        why = "no scoreboard" if isinstance(error, FileNotFoundError) else str(error)
        return _stopped(f"not running ({why} in {runtime_directory})", None)
    master = board.master()
    if start_ticks(master.pid) != master.start_ticks:
        return _stopped(f"not running (its master, pid {master.pid}, is gone)", master)

    before = board.rows()
    processes = {row.pid: _process(row.pid) for row in before}
    measured = time.monotonic()
    if interval:
        time.sleep(interval)
    seconds = time.monotonic() - measured
    earlier = {(row.pid, row.started): row.requests for row in before}
    workers = [_worker(row, processes.get(row.pid), earlier, seconds) for row in board.rows()]
    seated = {worker.slot for worker in workers if worker.state != "draining"}
    workers += [_down(slot) for slot in range(1, master.wanted + 1) if slot not in seated]
    workers.sort(key=lambda worker: (worker.slot, worker.state == "draining"))
    ready = len({worker.slot for worker in workers if worker.state == "ready"})
    state, detail = judge(master, ready, workers)
    return Status(
        state=state,
        detail=detail,
        master=master,
        uptime_s=time.time() - master.started,
        ready=ready,
        workers=workers,
    )


def judge(master: Master, ready: int, workers: list[Worker]) -> tuple[str, str]:
    """The cluster's state in a word, and why; pure."""
    if ready >= master.wanted:
        return "ready", ""
    why = f"{ready} of {master.wanted} workers ready"
    if ready == 0 and not any(worker.last_exit for worker in workers):
        return "starting", why
    return "degraded", why


def to_json(status: Status) -> str:
    """The facts as one JSON object."""
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
        "slots": [asdict(worker) for worker in status.workers],
    }
    return json.dumps(facts, indent=2)


def render(status: Status) -> None:
    """Prints the table for people, in colour on a terminal unless NO_COLOR is set."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)  # a pipe has no edge to cut at
    master = status.master
    if master is None or status.state == "stopped":
        click.echo(f"smart-factory is {status.detail}")
        return
    colour = _COLOURS[status.state]
    console.print(
        f"[bold]{master.app_name}[/bold]  [{colour}]{status.state}[/{colour}]  "
        f"{status.ready}/{master.wanted} ready · {master.mode} · release {master.release} · "
        f"{master.address} · master {master.pid}, up {_duration(status.uptime_s)}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify="right" if justify else "left", no_wrap=True)
    for worker in status.workers:
        colour = _COLOURS[worker.state]
        table.add_row(
            worker.worker,
            _shown(worker.pid),
            f"[{colour}]{worker.state}[/{colour}]",
            _duration(worker.uptime_s),
            str(worker.restarts),
            str(worker.requests),
            _shown(worker.requests_per_s),
            "-" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f}%",
            _size(worker.rss),
            _size(worker.pss),
            worker.release or "-",
        )
    console.print(table)


_COLOURS = {
    "ready": "green",
    "starting": "cyan",
    "booting": "cyan",
    "draining": "yellow",
    "degraded": "yellow",
    "down": "red",
    "stopped": "red",
}
_COLUMNS = (
    ("slot", False),
    ("pid", True),
    ("state", False),
    ("uptime", True),
    ("restarts", True),
    ("requests", True),
    ("req/s", True),
    ("cpu", True),
    ("rss", True),
    ("pss", True),
    ("release", False),
)


def _stopped(detail: str, master: Master | None) -> Status:
    return Status(state="stopped", detail=detail, master=master, uptime_s=None, ready=0, workers=[])


def _process(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        process.cpu_percent()  # the first call only starts the measurement
    except psutil.Error:
        return None
    return process


def _worker(
    row: Row,
    process: psutil.Process | None,
    earlier: dict[tuple[int, float], int],
    seconds: float,
) -> Worker:
    uptime = max(0.0, time.time() - row.started)
    since = earlier.get((row.pid, row.started), row.requests)
    if seconds < 0.01:  # --interval 0
        rate = row.requests / uptime if uptime else None
    else:
        rate = (row.requests - since) / seconds
    cpu, rss, pss = _usage(process, uptime if seconds < 0.01 else None)
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
        cpu_percent=_rounded(cpu),
        rss=rss,
        pss=pss,
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


def _usage(
    process: psutil.Process | None, uptime: float | None
) -> tuple[float | None, int | None, int | None]:
    """CPU (percent of one), resident and proportional set size, as far as they may be read."""
    if process is None:
        return None, None, None
    try:
        if uptime is None:
            cpu = process.cpu_percent()
        else:
            times = process.cpu_times()
            cpu = 100 * (times.user + times.system) / uptime if uptime else 0.0
        rss = process.memory_info().rss
    except psutil.Error:
        return None, None, None
    try:
        return cpu, rss, process.memory_full_info().pss
    except psutil.Error:  # another user's process
        return cpu, rss, None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _shown(value: float | None) -> str:
    return "-" if value is None else str(value)


def _duration(seconds: float | None) -> str:
    """`42s`, `3m 7s`, `5h 12m`, `9d 4h`."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for unit, letter, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit:
            return f"{whole // unit}{letter} {whole % unit // part}{small}"
    return f"{whole // 60}m {whole % 60}s" if whole >= 60 else f"{whole}s"


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / (1 << 20):.1f}M"
