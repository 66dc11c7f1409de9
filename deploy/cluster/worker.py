"""A worker from its own side: what the kit adds to Gunicorn's worker, whatever its class."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, Protocol

from deploy.cluster import backlog, probe, protocol, stacks
from deploy.cluster.drain import DrainNotice
from deploy.cluster.process_control import die_with_parent, wait_for_parent
from deploy.state.layout import Leave
from deploy.state.seat import Seat

_PARENT_SECONDS = 5.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the master asks a mold for."""

    slot: int  # 0: a canary, which answers the probe and leaves
    generation: int
    age: int  # Gunicorn's running number of workers
    workers: int  # how many there are to be
    row: int  # where on the scoreboard
    born: float  # monotonic seconds
    probe: str | None  # the canary's path; None: the default one


class SeatedWorker(Protocol):
    """Gunicorn's worker with what `equip` has given it."""

    cfg: Any
    log: Any
    seat: Seat
    slot: int
    generation: int
    leaving: bool
    drain_notice: DrainNotice


class BootReport:
    """The worker's end of the pipe on which the master hears of its boot."""

    def __init__(self, fd: int):
        self._fd = fd

    def started(self, pid: int) -> None:
        """The middle process's word, before it leaves the worker to the master."""
        self._write({"pid": pid})

    def ready(self) -> None:
        """The worker accepts from now on."""
        self._finish({"ready": True})

    def failed(self, error: BaseException) -> None:
        """The worker could not boot."""
        self._finish({"failed": reason_of(error), "traceback": traceback_of(error)})

    def verdict(self, verdict: probe.Verdict) -> None:
        """The canary's answer to the probe."""
        facts = {"passed": verdict.passed, "failed": verdict.reason}
        self._finish(facts | {"traceback": protocol.shortened(verdict.traceback)})

    def _finish(self, message: protocol.Message) -> None:
        self._write(message)
        os.close(self._fd)
        self._fd = -1

    def _write(self, message: protocol.Message) -> None:
        with contextlib.suppress(OSError):  # the master is gone, or it has given up on us
            os.write(self._fd, json.dumps(message).encode() + b"\n")


def exit_code_of(error: BaseException | None) -> int | None:
    """The exit code that an error carries, as those do that explain themselves in one line."""
    code = getattr(error, "exit_code", None)
    return code if isinstance(code, int) else None


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong."""
    named = f"{type(error).__name__}: {error}"
    text = named if exit_code_of(error) is None else str(error)
    return (text.strip().splitlines() or [named])[0][:500]


def traceback_of(error: BaseException) -> str:
    """The traceback to show; empty for an error that carries an exit code and explains itself."""
    if exit_code_of(error) is not None:
        return ""
    return protocol.shortened("".join(traceback.format_exception(error)))


class Heartbeat:
    """Stands in for Gunicorn's WorkerTmp: the sign of life is on the scoreboard.

    With each beat it looks for a request over its time. Under gthread Gunicorn's own timeout never
    fires for one, as the main thread goes on beating.
    """

    def __init__(self, worker: Any, seat: Seat, fd: int):
        self._worker = worker
        self._seat = seat
        self._fd = fd
        self._limit = worker.cfg.timeout
        self._next_look = 0.0
        self._overdue = False

    def notify(self) -> None:
        """The worker's loop goes round: often, under load."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._seat.beat()
            self._look(now)

    def last_update(self) -> float:
        """Monotonic seconds of the last beat."""
        return self._seat.heartbeat

    def fileno(self) -> int:
        """Gunicorn sets flags on it."""
        return self._fd

    def close(self) -> None:
        """The board stays open: the worker's last words go there."""

    def _look(self, now: float) -> None:
        begun = self._seat.oldest_request()
        overdue = begun is not None and bool(self._limit) and now - begun > self._limit
        if overdue == self._overdue:
            return
        self._overdue = overdue
        self._seat.mark_overdue(begun if overdue and begun is not None else 0.0)
        if overdue:
            self._worker.log.error(
                "[%s] A request takes longer than REQUEST_TIMEOUT (%d s)\n%s",
                *(self._seat.name, self._limit, stacks.of_all_threads()),
                extra={"event": "request.overdue"},
            )


def equip(
    worker: Any, assignment: Assignment, *, seat: Seat, board_fd: int, report: BootReport
) -> None:
    """Gives Gunicorn's worker, before its fork, its seat, its heartbeat and its way to the master.

    When to retire a worker is the master's to decide, so MAX_REQUESTS does not end it here.
    """
    worker.slot, worker.generation = assignment.slot, assignment.generation
    worker.leaving = False
    worker.drain_notice = notice = DrainNotice()
    worker.handle_exit = notice.before(worker.handle_exit)  # TERM
    worker.handle_quit = notice.before(worker.handle_quit)
    worker.seat = seat
    worker.tmp.close()
    worker.tmp = Heartbeat(worker, seat, board_fd)
    worker.max_requests = sys.maxsize
    init_process, run = worker.init_process, worker.run

    def boot() -> None:
        wait_for_parent(worker.ppid, seconds=_PARENT_SECONDS)
        seat.occupy(os.getpid())
        try:
            init_process()
        except BaseException as error:
            if not worker.booted:
                report.failed(error)
            raise

    def serve() -> None:
        if not die_with_parent(worker.ppid):
            return
        if assignment.slot == 0:
            report.verdict(probe.ask(worker.wsgi, assignment.probe))
            return
        _settle(worker.cfg)
        seat.ready()
        report.ready()
        try:
            run()
        finally:
            notice.give()  # its master is gone, or it failed
        _leave(worker)

    worker.init_process, worker.run = boot, serve
    if hasattr(worker, "set_accept_enabled"):
        _leave_before_finishing(worker)


def _settle(cfg: Any) -> None:
    """Makes plain attributes of the settings, which do not change any more.

    Gunicorn looks up some twenty of them a request, each through Config.__getattr__, which is only
    asked for what is no attribute.
    """
    vars(cfg).update({name: setting.get() for name, setting in cfg.settings.items()})


def _leave_before_finishing(worker: Any) -> None:
    """gthread finishes its requests after it has stopped to accept: the queue comes before that."""
    set_accept_enabled = worker.set_accept_enabled

    def stop_to_accept(enabled: bool) -> None:
        set_accept_enabled(enabled)
        if not enabled and not worker.alive:
            _leave(worker)

    worker.set_accept_enabled = stop_to_accept


def _leave(worker: Any) -> None:
    """What becomes of the listeners, unless that has been seen to."""
    # Gunicorn's listeners hold their socket; gevent's worker has the bare sockets.
    if any(getattr(listener, "sock", listener) is None for listener in worker.sockets):
        return
    leave = worker.seat.leave if os.getppid() == worker.ppid else Leave.LAST
    if leave is Leave.LAST and hasattr(worker, "accept"):
        backlog.serve(worker)
    elif leave is not Leave.SHARED:
        backlog.close(worker)
