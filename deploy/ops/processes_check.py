"""Whether the processes are the ones that were asked for, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from deploy.ops import systemd
from deploy.ops.change import Expected
from deploy.ops.check import Check
from deploy.ops.cluster import RunningCluster
from deploy.ops.errors import OperationError
from deploy.ops.service import Service
from deploy.ops.terminal import counted
from deploy.ops.waiting import Progress, looks
from deploy.state.layout import State
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Master, Row

NAME = "processes"
_MARGIN = 5.0  # seconds beyond GRACEFUL_TIMEOUT, for a busy machine
_OURS = ("gunicorn: worker-", "gunicorn: master")


def check(service: Service, expected: Expected, *, failing_before: str, line: Progress) -> Check:
    """Waits until everything is as expected, as long as a worker may drain."""
    found: list[str] = []
    for passed in looks(service.grace + _MARGIN):
        found = _plain_wrong() if expected.plain else _wrong(service, expected)
        if not found:
            break
        line.show(f"Validation: {found[0]}, {passed:.0f} s")
    if found:
        return Check(name=NAME, ok=False, detail="; ".join(found))
    if expected.plain or service.board is None:
        return Check(name=NAME, ok=True, detail="one plain process with one worker")
    master, failing = service.board.master(), service.board.failing
    if failing and not failing_before:
        return Check(name=NAME, ok=False, detail=f"degraded: {failing}")
    ready = f"{master.wanted} of {counted(master.wanted)} ready"
    rest = f"degraded as before: {failing}" if failing else "no other process of ours"
    return Check(name=NAME, ok=True, detail=f"{ready}, {rest}")


def wrong(
    master: Master, rows: Sequence[Row], expected: Expected, *, alive: Collection[int]
) -> list[str]:
    """What is not as expected, in a few words each; `alive`: the rows' pids that live. Pure."""
    found = []
    wanted = master.wanted if expected.workers is None else expected.workers
    if master.wanted != wanted:
        found.append(f"the master wants {counted(master.wanted)}, not {wanted}")
    if expected.mode not in (None, master.mode):
        found.append(f"the mode is {master.mode}, not {expected.mode}")
    if expected.release not in (None, master.release):
        found.append(f"the release is {master.release}, not {expected.release}")
    ready = {row.slot for row in rows if row.state == State.READY and row.pid in alive}
    missing = [slot for slot in range(1, wanted + 1) if slot not in ready]
    if missing:
        found.append(f"{wanted - len(missing)} of {counted(wanted)} ready")
    for row in rows:
        who = f"{row.name} (pid {row.pid})"
        if row.state == State.DRAINING:
            found.append(f"{who} of generation {row.generation} still drains")
        elif row.slot > wanted:
            found.append(f"{who} is one too many")
        elif row.state == State.READY and row.pid not in alive:
            found.append(f"{who} is dead")
        elif row.state == State.READY and row.release != master.release:
            found.append(f"{who} serves release {row.release}, not {master.release}")
    return found


def strangers(runtime_directory: Path, known: Collection[int]) -> list[str]:
    """Other masters and workers on this board: a second master (USR2), or what a dead one left.

    Who has the board mapped is known by /proc/PID/maps, as far as that may be read.
    """
    board = str(runtime_directory / "scoreboard").encode()
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) in known:
            continue
        with contextlib.suppress(OSError):
            title = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            )
            if title.startswith(_OURS) and board in (process / "maps").read_bytes():
                found.append(f"pid {process.name} ({title.strip()}) is not of this master")
    return found


def _wrong(service: Service, expected: Expected) -> list[str]:
    try:
        # Opened again: a restart puts another master in the place of the one that was found.
        cluster = RunningCluster(service.directories.runtime)
    except OperationError as error:
        return [error.message]
    board = cluster.board
    rows = [row for row in board.rows() if row.slot]  # slot 0 is the canary's
    alive = {row.pid for row in rows if start_ticks(row.pid) is not None}
    found = wrong(board.master(), rows, expected, alive=alive)
    known = {row.pid for row in board.rows()} | {cluster.master.pid}
    return found or strangers(service.directories.runtime, known)


def _plain_wrong() -> list[str]:
    """The plain service is a Gunicorn as it comes: a main process, and one worker."""
    import psutil

    try:
        shown = systemd.properties(systemd.BARE, "ActiveState", "MainPID")
    except systemd.SystemdError as error:
        return [error.message]
    if shown["ActiveState"] != "active":
        return [f"{systemd.BARE} is {shown['ActiveState']}, not active"]
    try:
        workers = psutil.Process(int(shown["MainPID"])).children()
    except psutil.Error:
        return [f"the main process of {systemd.BARE} is gone"]
    return [] if len(workers) == 1 else [f"{counted(len(workers))} below it, not one"]
