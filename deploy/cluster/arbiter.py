"""Gunicorn's arbiter with slots, a mold, and a reload that cannot break the service.

`install` swaps the class of the running arbiter, so that the plain start
`gunicorn -c gunicorn.conf.py` gets it. Each override says which of Gunicorn's rules it changes.
Signals only leave a note; every turn of the loop looks at what there is and does the next step, so
nothing is waited for and no signal has to wait.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import Any, cast

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from deploy.cluster import exits, launch, leaving, listeners, second_master, slots
from deploy.cluster.companion import Companion
from deploy.cluster.crew import Crew
from deploy.cluster.desired_state import DesiredState
from deploy.cluster.good_mold import GoodMold
from deploy.cluster.health import Health
from deploy.cluster.limits import Limits
from deploy.cluster.mold_handle import MoldHandle
from deploy.cluster.reload_queue import ReloadQueue
from deploy.cluster.reloading import Ended
from deploy.cluster.runtime_files import RuntimeFiles
from deploy.cluster.settings import Settings
from deploy.cluster.supervisor import Supervisor
from deploy.cluster.worker_handle import WorkerHandle
from deploy.state import ledger, request
from deploy.state.layout import Leave
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Master, Scoreboard

# How long the loop sleeps at most, and while something is under way that has a deadline.
_IDLE_SECONDS, _BUSY_SECONDS = 1.0, 0.05


def install(server: Arbiter, settings: Settings, directory: str) -> RollingArbiter:
    """Makes a RollingArbiter of Gunicorn's arbiter, before its first fork.

    `directory` is where the process was started, through the links that it was started through.
    """
    server.__class__ = RollingArbiter
    arbiter = cast("RollingArbiter", server)
    # Gunicorn takes the directory that --chdir led to, where a relative --config is not found.
    arbiter.START_CTX["cwd"] = directory
    arbiter.adopt(settings)
    return arbiter


class RollingArbiter(Arbiter):
    """The arbiter of the slots worker-1…N."""

    WORKERS: dict[int, WorkerHandle]
    LISTENERS: list[Any]
    dirty_arbiter_pid: int
    reexec_pid: int
    master_pid: int
    pid: int
    num_workers: int
    systemd: bool
    cfg: Any
    log: Any

    # --- the start

    def adopt(self, settings: Settings) -> None:
        """Takes over from Gunicorn's arbiter: what `__init__` would set up."""
        self.settings = settings
        self.release = settings.release
        # What molds start with: as the master itself, before its own configuration added to it.
        self.environ: dict[str, str] = dict(self.cfg.env_orig)
        self._started = time.time()
        self._supervisor = Supervisor(os.environ, self.pid, self.log)
        self.gone: list[MoldHandle] = []  # molds that are about to end
        self._start: launch.Launch | None = None
        self._reloads = ReloadQueue(self)
        self._complete = False  # all workers were ready since the last change of their number
        self._stopping = False
        self._ledger_failed = False
        self.WORKERS = {}  # Gunicorn keeps one for all arbiters of a process
        self.limits = Limits(self.log)
        self.companion = Companion(self.log)
        self._desired = DesiredState(settings.state_directory, self.log)
        self._wakeup, end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        path = settings.runtime_directory / "scoreboard"
        self._num_workers = self.wanted(settings.mode, self.cfg.workers)
        self.board = Scoreboard.create(path, self._description())
        self._files = RuntimeFiles(self.board, self.pid, self.log)
        self.crew = Crew(self.WORKERS, board=self.board, log=self.log, record=self.record)
        self._good = GoodMold(board=self.board, log=self.log, record=self.record)
        self._health = Health(self.board, self.log)
        self.log.info(
            "[Master] %s starting in %s mode with %d worker(s)",
            settings.app_name,
            settings.mode,
            self.num_workers,
            extra={"event": "master.starting", "workers": self.num_workers},
        )

    def listening(self) -> None:
        """The listeners are there: the board shows where they really are."""
        self.board.describe(self._description())

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

    def record(self, event: str, **facts: object) -> None:
        """Into the ledger; a full disk costs the line and nothing else."""
        facts = {"who": "master", **facts}
        try:
            ledger.append(self.settings.state_directory, event, **cast("dict[str, Any]", facts))
        except OSError as error:
            if not self._ledger_failed:
                self.log.error("[Master] The ledger cannot be written: %s", error)
            self._ledger_failed = True
        else:
            self._ledger_failed = False

    # --- Gunicorn's rules that change

    def wait_for_signals(self, timeout: float = _IDLE_SECONDS) -> list[int]:
        """Wakes up for what molds and workers say, too."""
        restless = self._reloads.current or self.gone or self._health.pending or self.crew.restless
        if restless or not self._good.ready:
            timeout = min(timeout, _BUSY_SECONDS)
        timeout = max(0.0, min(timeout, self._supervisor.seconds))
        poll = select.poll()
        molds = [mold.fileno() for mold in self._molds()]
        for fd in (self._wakeup, *molds, *self.crew.reports):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        for fd, events in self._supervisor.waiting:
            if fd >= 0:
                poll.register(fd, events)
        if self.SIG_QUEUE.empty():
            poll.poll(timeout * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        signals = []
        while not self.SIG_QUEUE.empty():
            signals.append(self.SIG_QUEUE.get_nowait())
        return [number for number in signals if number != self.WAKEUP_REQUEST]

    def manage_workers(self) -> None:
        """One turn: hears what has happened, and does the next step of everything under way."""
        now = time.monotonic()
        self._take_over_desired()
        self._files.keep(now, self.pidfile)
        for mold in self._molds():
            mold.observe(now)
        self._keep_mold(now)
        self.crew.observe(self.num_workers)
        self._halt_if_stillborn()
        self._step_reload(now)
        self._fill_slots(now)
        self.crew.press(now)
        self._announce_complete(now)
        self.companion.step(now, None if self.master_pid else self._good.generation)
        self._supervisor.step(time.monotonic(), self)

    def murder_workers(self) -> None:
        """A worker that hangs is replaced first (`Crew.press`)."""

    def reload(self) -> None:
        """A HUP: the reload begins with the next turn, or after the one under way."""
        self._reloads.ask(request.take(self.settings.runtime_directory))

    def handle_hup(self) -> None:
        """Notes it; the dirty arbiter's own reload is as in Gunicorn."""
        self.reload()
        if self.dirty_arbiter_pid:
            self.kill_dirty_arbiter(signal.SIGHUP)

    def handle_ttin(self) -> None:
        """One more, kept across reloads and restarts like any other scaling."""
        self._scale(self.num_workers + 1, "signal TTIN")

    def handle_ttou(self) -> None:
        """One less, never below one; kept likewise."""
        self._scale(self.num_workers - 1, "signal TTOU")

    def handle_winch(self) -> None:
        """From the first master: what is said to systemd is this one's from now on."""
        self._supervisor.entitle()
        super().handle_winch()

    def handle_usr1(self) -> None:
        """Reopens the log files of all, also of the workers to come."""
        super().handle_usr1()
        for mold in self._molds():
            mold.reopen_logs()

    def reexec(self) -> None:
        """A second master beside this one, unless there are two."""
        if self.reexec_pid or self.master_pid:
            super().reexec()  # says so
        else:
            self.reexec_pid = second_master.start(self)

    def kill_worker(self, pid: int, sig: int) -> None:
        """Remembers who was told to leave: that worker's end is no death."""
        worker = self.WORKERS.get(pid)
        if worker is not None:
            self.crew.signal(worker, sig)

    def reap_workers(self) -> None:
        """Says why a worker ended; no exit code of a worker ever stops the master."""
        for pid, status in exits.reaped():
            mold = next((each for each in self._molds() if each.pid == pid), None)
            if pid == self.reexec_pid:
                self.reexec_pid = 0
            elif pid == self.dirty_arbiter_pid:
                self.handle_dirty_arbiter_exit(pid, status)
            elif mold is not None:
                mold.reaped(status)
            elif not (self.limits.reaped(pid) or self.companion.reaped(pid, status)):
                self._bury(pid, status)

    def stop(self, graceful: bool = True) -> None:
        """Workers answer what they and the kernel have accepted; a second signal ends them at once.

        Gunicorn swallows a second TERM, and resets the connections that wait in the backlog.
        """
        self._stopping = True
        self.handle_chld()
        self._supervisor.leave(self, successor=self.reexec_pid)
        self._abandon_molds()
        alone = self.reexec_pid == self.master_pid == 0 and not self.systemd
        if alone:  # nobody else accepts at our listeners
            for worker in self.crew.members():
                worker.seat.leaves(Leave.LAST)
        sock.close_sockets(self.LISTENERS, alone)
        self.LISTENERS = []
        leaving.see_off(self, graceful=graceful)

    # --- the molds

    def _molds(self) -> list[MoldHandle]:
        molds = (self._good.handle, self._reloads.candidate, *self.gone)
        return [mold for mold in molds if mold is not None]

    def _keep_mold(self, now: float) -> None:
        self.gone = [mold for mold in self.gone if mold.alive]
        self._good.step(now, first=self._launch, timeout=self.settings.ready_timeout)

    def _launch(self) -> launch.Launch:
        """As this master was started, with its links as they were written."""
        if self._start is None:  # once: by the next reload a link may hide which interpreter it was
            context = self.START_CTX
            self._start = launch.of_this_process(
                arguments=context["args"][1:], directory=context["cwd"], environ=self.environ
            )
        return self._start

    def _abandon_molds(self) -> None:
        candidate, good = self._reloads.candidate, self._good.handle
        self._reloads.abandon()
        self._good.handle = None
        if good is not None:
            good.discard()
        self.gone += [mold for mold in (candidate, good) if mold is not None and mold.alive]

    # --- the reload

    def _step_reload(self, now: float) -> None:
        candidate = self._reloads.candidate
        ended = self._reloads.step(now, launch=self._launch)
        if ended is None:
            return
        if not ended.complete and candidate is not None and candidate.alive:
            self.gone.append(candidate)
        self._say_outcome(ended)

    def adopt_generation(self, mold: MoldHandle, listeners: list[Any], cfg: Any) -> None:
        """The candidate has become the good mold; the master follows its configuration."""
        assert mold.generation is not None  # noqa: S101 - it has forked workers
        former = self._good.adopt(mold)
        if former is not None:
            former.discard()
            self.gone.append(former)
        self.LISTENERS = listeners
        self.cfg = self.app.cfg = cfg
        self.app.app_uri = mold.generation.application
        self.address, self.timeout = cfg.address, cfg.timeout
        self.log.setup(cfg)
        self.log.reopen_files()
        before, self.settings = self.settings, mold.generation.settings
        self.release = mold.generation.release
        self._warn_of_restart(before)
        self.crew.forgive()
        self.num_workers = self.wanted(self.settings.mode, cfg.workers)
        self.board.describe(self._description())

    def _warn_of_restart(self, before: Settings) -> None:
        for name in ("runtime_directory", "state_directory"):
            old, new = getattr(before, name), getattr(self.settings, name)
            if old != new:
                self.log.warning("[Master] %s=%s takes effect at the next start", name.upper(), new)
        if self.systemd and before.bind != self.settings.bind:
            bind = ",".join(self.settings.bind)
            self.log.warning("[Master] BIND=%s is ignored: a systemd socket wins", bind)

    def _say_outcome(self, ended: Ended) -> None:
        if ended.complete:
            self._complete = False
            self._health.restart() if ended.force else self._health.passed()
            self._announce_complete(time.monotonic())
            ready = slots.ready_slots(self.crew.members(), self.num_workers)
            text = "[Master] Reload complete: %d/%d on release %s"
            facts = {"event": "reload.complete"}
            self.log.info(text, ready, self.num_workers, self.release, extra=facts)
            return
        if ended.traceback:
            self.log.error("%s", ended.traceback.rstrip(), extra={"event": "reload.traceback"})
        self.log.error(
            "[Master] Reload refused: %s. Still serving release %s",
            *(ended.reason, self.release),
            extra={"event": "reload.refused", "reason": ended.reason},
        )

    # --- the workers

    def _fill_slots(self, now: float) -> None:
        reloading = self._reloads.current
        candidate = reloading.mold if reloading and reloading.spawning else None
        mold = candidate or self._good.handle
        listeners = reloading.listeners if candidate and reloading else self.LISTENERS
        held = self.crew.held(now)
        plan = slots.plan(self.crew.members(), self.num_workers, held=held)
        for worker in plan.stop:
            self.crew.stop(worker)
        for slot in plan.start if mold is not None else ():
            self._ask(cast("MoldHandle", mold), slot, listeners)

    def _ask(
        self, mold: MoldHandle, slot: int, listeners: Sequence[Any], probe: str | None = None
    ) -> WorkerHandle | None:
        return self.crew.ask(
            mold,
            slot,
            listeners=[listener.fileno() for listener in listeners],
            workers=self.num_workers,
            probe=probe,
        )

    def _bury(self, pid: int, status: int) -> None:
        worker = self.WORKERS.get(pid)
        oom = self.limits.oom_killed()
        if self.crew.bury(pid, status, stopping=self._stopping, oom=oom):
            try:
                self.cfg.child_exit(self, worker)
            except Exception:  # a hook of the application's must not stop the server
                self.log.exception("The hook child_exit failed")
        else:
            self.log.debug("Reaped unknown child process (pid:%s)", pid)

    def _halt_if_stillborn(self) -> None:
        """The first start of an application that cannot boot ends the server; a later one not."""
        if self.crew.served or not self.crew.failures:
            return
        worker = next(iter(self.crew.failures.values()))
        self.record("start", outcome="failed", why=worker.failure)
        raise HaltServer("The application does not load.", exits.halt_code(worker.status))

    def _announce_complete(self, now: float) -> None:
        if slots.ready_slots(self.crew.members(), self.num_workers) == self.num_workers:
            if not self._complete:
                self._complete = True
                self.log.info("[Master] All workers ready", extra={"event": "master.ready"})
            mold = self._good.handle
            if mold is not None and mold.generation is not None and self._reloads.current is None:
                path = mold.generation.settings.ready_path
                self._health.step(
                    now,
                    timeout=self.settings.ready_timeout,
                    ask=lambda: self._ask(mold, 0, [], path),
                )

    # --- how many

    def wanted(self, mode: str, configured: int) -> int:
        """How many workers there are to be: what an operator asked for wins."""
        return self._desired.wanted(mode, configured)

    def _take_over_desired(self) -> None:
        if self._desired.changed():
            self._resize(self._desired.by)

    def _scale(self, workers: int, who: str) -> None:
        if self.settings.mode == "fork":
            self.log.warning("[Master] %s ignored: fork mode runs one worker", who)
        elif self._desired.ask(workers, who):
            self._resize(who)

    def _resize(self, who: str) -> None:
        before, wanted = self.num_workers, self.wanted(self.settings.mode, self.cfg.workers)
        if wanted != before:
            self.num_workers = wanted  # its hook says so and describes it on the board
            self.record("scale", who=who, before=before, workers=wanted, outcome="taken over")

    def _description(self) -> Master:
        return Master(
            pid=self.pid,
            start_ticks=start_ticks(self.pid) or 0,
            started=self._started,
            mode=self.settings.mode,
            wanted=self.num_workers,
            generation=self._reloads.generation,
            release=self.release,
            app_name=self.settings.app_name,
            application=self.app.app_uri,
            address=", ".join(listeners.names(self.LISTENERS) or self.cfg.settings["bind"].get()),
        )
