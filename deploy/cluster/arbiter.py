"""Gunicorn's arbiter with slots: who sits where, who is ready, who died and why.

`install` swaps the class of the running arbiter, so that the plain start
`gunicorn -c gunicorn.conf.py` gets it. Each override says which of Gunicorn's rules it changes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from deploy.cluster import exits, slots
from deploy.cluster.limits import Limits
from deploy.state.layout import State
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Exit, Master, Scoreboard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.cluster.settings import Settings
    from deploy.state.seat import Seat

# How soon a worker's readiness is noticed while one boots; else the loop sleeps up to a second.
_BOOTING_POLL_SECONDS = 0.05
# A slot whose worker could not boot waits this long for its next one.
_FAILED_BOOT_PAUSE_SECONDS = 1.0
_TO_LEAVE = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)


class SlotWorker(Protocol):
    """Gunicorn's worker, as the master sees it, with what the kit keeps on it."""

    pid: int
    age: int
    aborted: bool
    max_requests: int
    tmp: Any
    cfg: Any
    log: Any
    seat: Seat
    slot: int
    generation: int
    leaving: bool
    announced: bool
    replaces: bool


def install(server: Arbiter, settings: Settings) -> SlotArbiter:
    """Makes a SlotArbiter of Gunicorn's arbiter, before its first fork."""
    server.__class__ = SlotArbiter
    arbiter = cast("SlotArbiter", server)
    arbiter.adopt(settings)
    return arbiter


class SlotArbiter(Arbiter):
    """The arbiter of the slots worker-1…N."""

    WORKERS: dict[int, SlotWorker]
    reexec_pid: int

    def adopt(self, settings: Settings) -> None:
        """Takes over from Gunicorn's arbiter: what `__init__` would set up."""
        self.settings = settings
        self.generation = 1
        self._started = time.time()
        self.limits = Limits(self.log)
        self._served = False  # some worker was ready since the master started
        self._complete = False  # all workers were ready since the last change of their number
        self._stopping = False
        self._died: set[int] = set()  # slots whose next worker replaces one that died
        self._not_before: dict[int, float] = {}  # monotonic; slots whose last boot failed
        path = settings.runtime_directory / "scoreboard"
        self.board = Scoreboard.create(path, self._description())
        self.log.info(
            "[Master] %s starting in %s mode with %d worker(s)",
            settings.app_name,
            settings.mode,
            self.num_workers,
            extra={"event": "master.starting", "workers": self.num_workers},
        )

    def check_limits(self) -> None:
        """Says when the workers want more than the machine and the database grant."""
        self.limits.check(self.num_workers, worker_max_rss=self.settings.worker_max_rss)

    def resized(self, old: int) -> None:
        """The wanted number of workers has changed."""
        self._complete = False
        self.board.describe(self._description())
        self.log.info(
            "[Master] Workers: %d before, %d now",
            old,
            self.num_workers,
            extra={"event": "master.resized", "workers": self.num_workers},
        )
        self.check_limits()

    def reloaded(self, settings: Settings) -> None:
        """The configuration was read anew; the workers to come are a new generation."""
        self.settings = settings
        self.generation += 1
        self._complete = False
        self._not_before.clear()
        self.board.describe(self._description())

    def seat_worker(self, worker: SlotWorker) -> None:
        """Gives a worker that is about to be forked its slot and its row."""
        slot = slots.next_slot(self.WORKERS.values(), self.generation)
        worker.slot, worker.generation = slot, self.generation
        worker.leaving = worker.announced = False
        worker.replaces = slot in self._died
        self._died.discard(slot)
        release = self.settings.release
        worker.seat = self.board.claim(slot, generation=self.generation, release=release)

    # --- Gunicorn's rules that change

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Looks more often while a worker boots: its readiness comes without a signal."""
        booting = any(not worker.announced for worker in self._staying())
        signals: list[int] = super().wait_for_signals(_BOOTING_POLL_SECONDS if booting else timeout)
        return signals

    def spawn_worker(self) -> int:
        """In the child, an error that carries an exit code ends the worker with that code."""
        try:
            pid: int = super().spawn_worker()
        except SystemExit as exiting:  # only ever in the child
            code = getattr(exiting.__context__, "exit_code", None)
            if isinstance(code, int):
                sys.exit(code)
            raise
        return pid

    def manage_workers(self) -> None:
        """Fills every slot that nobody holds, and stops the workers that no slot has room for.

        Gunicorn counts heads and stops the oldest; a worker told to leave counts for it until it
        is gone, so its slot stays empty while it drains.
        """
        now = time.monotonic()
        for slot in slots.missing(self.WORKERS.values(), self.num_workers):
            if now >= self._not_before.get(slot, 0):
                self.spawn_worker()
        for worker in slots.surplus(list(self.WORKERS.values()), self.num_workers):
            self.kill_worker(worker.pid, signal.SIGTERM)
        self._announce()

    def kill_worker(self, pid: int, sig: int) -> None:
        """Remembers who was told to leave: that worker's end is no death."""
        worker = self.WORKERS.get(pid)
        if worker is not None and sig in _TO_LEAVE:
            worker.leaving = True
            worker.seat.drain()
        super().kill_worker(pid, sig)

    def stop(self, graceful: bool = True) -> None:
        """Nobody is replaced any more."""
        self._stopping = True
        super().stop(graceful)

    def reload(self) -> None:
        """A configuration that is wrong ends the reload, not the master."""
        configuration, environ = self.app.cfg, dict(os.environ)
        try:
            super().reload()
        except SystemExit:
            if os.getpid() != self.pid:
                raise  # a new worker, at its end
            if self.cfg is not configuration:
                raise  # it was read; the new address cannot be bound, and the old one is closed
            self.app.cfg = configuration
            os.environ.clear()
            os.environ.update(environ)
            self.log.error(
                "[Master] Reload refused: the configuration is wrong, see above. "
                "Still serving release %s",
                self.settings.release,
                extra={"event": "reload.refused"},
            )

    def reap_workers(self) -> None:
        """Says why a worker ended, and calls child_exit for those that failed to boot as well.

        A worker that cannot boot ends the server only when none was ever ready.
        """
        for pid, status in _reaped():
            if pid == self.reexec_pid:
                self.reexec_pid = 0
            elif pid == self.dirty_arbiter_pid:
                self.handle_dirty_arbiter_exit(pid, status)
            elif pid in self.WORKERS:
                self._bury(self.WORKERS.pop(pid), status)
            elif not self.limits.reaped(pid):
                self.log.debug("Reaped unknown child process (pid:%s)", pid)

    # --- observations

    def _description(self) -> Master:
        return Master(
            pid=self.pid,
            start_ticks=start_ticks(self.pid) or 0,
            started=self._started,
            mode=self.settings.mode,
            wanted=self.num_workers,
            generation=self.generation,
            release=self.settings.release,
            app_name=self.settings.app_name,
            address=", ".join(self.cfg.settings["bind"].get()),
        )

    def _staying(self) -> list[SlotWorker]:
        return [worker for worker in self.WORKERS.values() if not worker.leaving]

    def _announce(self) -> None:
        """Logs the workers that became ready since the last look."""
        news = [
            worker
            for worker in self._staying()
            if not worker.announced and worker.seat.state == State.READY
        ]
        for worker in sorted(news, key=lambda worker: worker.seat.ready_after_ms):
            worker.announced = self._served = True
            ready = sum(worker.announced for worker in self._staying())
            facts = {
                "event": "worker.ready",
                "pid": worker.pid,
                "slot": worker.slot,
                "worker": worker.seat.name,
                "boot_ms": round(worker.seat.ready_after_ms, 1),
            }
            if worker.replaces:
                text = "[Master] Replacement worker %d (%s) is ready"
                self.log.info(text, worker.slot, worker.seat.name, extra=facts)
            else:
                text = "[Master] Worker %d (%s) is ready [%d/%d]"
                counts = (ready, self.num_workers)
                self.log.info(text, worker.slot, worker.seat.name, *counts, extra=facts)
        if not self._complete and not slots.missing(
            [worker for worker in self._staying() if worker.announced], self.num_workers
        ):
            self._complete = True
            self.log.info("[Master] All workers ready", extra={"event": "master.ready"})

    def _bury(self, worker: SlotWorker, status: int) -> None:
        why = exits.reason(status, timed_out=worker.aborted, oom_killed=self.limits.oom_killed())
        retired = status == 0 and worker.seat.requests >= worker.max_requests
        if retired:
            why = "max requests"
        died = not worker.leaving and not self._stopping
        booted = worker.announced or worker.seat.state == State.READY
        event = "retired" if died and retired else "died" if died else "stopped"
        facts = {
            "event": f"worker.{event}",
            "pid": worker.pid,
            "slot": worker.slot,
            "worker": worker.seat.name,
            "reason": why,
        }
        last = Exit(at=time.time(), pid=worker.pid, reason=why)
        self.board.record_exit(worker.slot, last, restarted=died)
        worker.tmp.close()
        self.cfg.child_exit(self, worker)
        name = (worker.slot, worker.seat.name)
        if not died:
            self.log.info("[Master] Worker %d (%s) stopped (%s)", *name, why, extra=facts)
        elif retired:
            text = "[Master] Worker %d (%s) retired (%s). Restarting..."
            self.log.info(text, *name, why, extra=facts)
        elif booted or self._served:
            text = "[Master] Worker %d (%s) died (%s). Restarting..."
            self.log.error(text, *name, why, extra=facts)
            self._died.add(worker.slot)
            if not booted:
                self._not_before[worker.slot] = time.monotonic() + _FAILED_BOOT_PAUSE_SECONDS
        else:
            text = "[Master] Worker %d (%s) died (%s) before any worker was ready"
            self.log.error(text, *name, why, extra=facts)
            raise HaltServer("The application does not load.", _halt_code(status))


def _reaped() -> Iterator[tuple[int, int]]:
    """Children that have ended, with their wait status; nobody is waited for."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status


def _halt_code(status: int) -> int:
    """The master's exit code for a worker that could not boot: the worker's own, never 0."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) and status else 1
