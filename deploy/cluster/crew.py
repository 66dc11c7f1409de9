"""The workers of one master: asked for, watched while they boot and serve, let go, buried."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from deploy.cluster import exits, respawn, slots
from deploy.cluster.mold_handle import MoldHandle
from deploy.cluster.respawn import Death, History
from deploy.cluster.worker import Assignment
from deploy.cluster.worker_handle import WorkerHandle
from deploy.state.scoreboard import Scoreboard
from deploy.state.slot_record import Exit, FailedBoot

_TO_LEAVE = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP}
# Gunicorn's worker ends its own drain at GRACEFUL_TIMEOUT; the master's kill comes after that.
_DRAIN_SLACK_SECONDS = 0.5
# How often wear is looked at; the master's loop may go round much more often.
_WEAR_SECONDS = 1.0
# A worker that was aborted gets so long to write where it is.
_ABORT_SECONDS = 1.0
# Each request for a fork carries descriptors, of which the kernel lets only so many be in flight.
_UNBORN_MAX = 16


class Crew:
    """All workers. `running` is Gunicorn's WORKERS: by pid, each a child of this process."""

    def __init__(
        self,
        running: dict[int, WorkerHandle],
        *,
        board: Scoreboard,
        log: Any,
        record: Callable[..., None],
    ):
        self._running = running
        self._unborn: list[WorkerHandle] = []  # asked for; their pid is not known yet
        self._lost: dict[int, int] = {}  # wait statuses of children not known yet
        self._board = board
        self._log = log
        self._record = record
        self._age = 0
        self._next_wear = 0.0  # monotonic
        self._histories: dict[int, History] = {}
        self._held: dict[int, float] = {}  # slot: monotonic; no new worker before
        self._died: set[int] = set()  # slots whose next worker replaces one that died or was worn
        self.served = False  # some worker was ready since the master started
        self.failures: dict[int, WorkerHandle] = {}  # by generation: the last that could not stay

    def all(self) -> list[WorkerHandle]:
        """Every worker there is, also a canary."""
        return [*self._running.values(), *self._unborn]

    def members(self) -> list[WorkerHandle]:
        """Those that hold a slot."""
        return [worker for worker in self.all() if worker.slot]

    @property
    def reports(self) -> list[int]:
        """The descriptors on which boots are reported."""
        return [worker.report for worker in self.all() if worker.report >= 0]

    @property
    def restless(self) -> bool:
        """Whether something is under way that has a deadline."""
        return bool(self._held) or any(w.leaving or not w.ready or w.retiring for w in self.all())

    def held(self, now: float) -> set[int]:
        """The slots that get no worker yet, as their last ones crashed."""
        self._held = {slot: until for slot, until in self._held.items() if until > now}
        return set(self._held)

    def looping(self, wanted: int) -> bool:
        """Whether every slot is in a crash loop: no worker of this release stays up."""
        return wanted > 0 and all(
            self._histories.get(slot, History()).exhausted for slot in range(1, wanted + 1)
        )

    def forgive(self) -> None:
        """A new release: what the former one's workers died of counts no more."""
        self._histories.clear()
        self._held.clear()

    # --- coming

    def ask(
        self,
        mold: MoldHandle,
        slot: int,
        *,
        listeners: Sequence[int],
        workers: int,
        probe: str | None = None,
    ) -> WorkerHandle | None:
        """Asks the mold for a worker; None when there is no room for one now."""
        generation = mold.generation
        if generation is None or not mold.ready or len(self._unborn) >= _UNBORN_MAX:
            return None
        release = generation.release
        seat = self._board.claim(slot, generation=generation.number, release=release)
        if seat is None:
            return None
        self._age += 1
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        worker = WorkerHandle(
            mold,
            generation,
            seat=seat,
            age=self._age,
            report=ours,
            replaces=slot in self._died,
        )
        self._unborn.append(worker)
        assignment = Assignment(
            slot=slot,
            generation=generation.number,
            age=self._age,
            workers=workers,
            row=seat.offset,
            born=seat.born,
            probe=probe,
        )
        mold.spawn(assignment, theirs, listeners)
        os.close(theirs)
        return worker if self._was_heard(mold, worker) else None

    def _was_heard(self, mold: MoldHandle, worker: WorkerHandle) -> bool:
        """Whether the mold was there to hear the request; if not, it was never made."""
        if not mold.ready:
            self._unborn.remove(worker)
            worker.close()
            self._board.vacate(worker.seat)
        return mold.ready

    def observe(self, wanted: int) -> None:
        """Hears of boots: who has a pid, who is ready, who could not."""
        for worker in self.all():
            worker.observe()
        for worker in [w for w in self._unborn if w.pid]:
            self._unborn.remove(worker)
            self._running[worker.pid] = worker
            if worker.pid in self._lost:
                self.bury(worker.pid, self._lost.pop(worker.pid))
            elif worker.leaving:
                self.signal(worker, signal.SIGTERM)
        for worker in [w for w in self._unborn if w.report < 0]:
            self._unborn.remove(worker)
            self._forget(worker, "its mold could not fork it", Death.UNBORN)
        if not self._unborn:
            self._lost.clear()
        news = [w for w in self._running.values() if not w.ready and w.says_ready and w.slot]
        for worker in sorted(news, key=lambda worker: worker.seat.ready_after_ms):
            self._died.discard(worker.slot)
            self._announce(worker, wanted)

    def _announce(self, worker: WorkerHandle, wanted: int) -> None:
        worker.ready = self.served = True
        worker.close()
        same = [w for w in self.members() if w.generation.number == worker.generation.number]
        ready = slots.ready_slots(same, wanted)
        facts = _facts(worker, "worker.ready")
        facts["boot_ms"] = round(worker.seat.ready_after_ms, 1)
        if worker.replaces:
            text = "[Master] Replacement worker %d (%s) is ready"
            self._log.info(text, worker.slot, worker.name, extra=facts)
        else:
            text = "[Master] Worker %d (%s) is ready [%d/%d]"
            self._log.info(text, worker.slot, worker.name, ready, wanted, extra=facts)

    # --- going

    def signal(self, worker: WorkerHandle, number: int) -> None:
        """Sends a signal; remembers who was told to leave, as that worker's end is no death."""
        if number in _TO_LEAVE and not worker.leaving:
            worker.leaving = True
            worker.seat.drain()
            worker.leave_by = time.monotonic() + (
                float(worker.generation.config["graceful_timeout"]) + _DRAIN_SLACK_SECONDS
            )
        if worker.pid:
            with contextlib.suppress(ProcessLookupError):  # about to be reaped
                os.kill(worker.pid, number)

    def retire(self, worker: WorkerHandle, why: str) -> None:
        """Has the worker replaced: it serves until its successor is ready."""
        worker.retiring = why
        self._died.add(worker.slot)
        self._log.info(
            "[Master] Worker %d (%s) retires (%s). Replacing...",
            *(worker.slot, worker.name, why),
            extra=_facts(worker, "worker.retires", reason=why),
        )

    def stop(self, worker: WorkerHandle) -> None:
        """Tells a worker to leave for which there is no slot, or a successor, or no use."""
        if worker.retiring == "timeout":
            self._abort(worker)
            return
        self.signal(worker, signal.SIGTERM)
        if not worker.ready:  # it has accepted nothing that it would have to finish
            worker.leave_by = time.monotonic() + _ABORT_SECONDS

    def press(self, now: float) -> None:
        """Holds every worker to its deadlines."""
        for worker in self.all():
            timeout = worker.generation.settings.ready_timeout
            late = not worker.ready and worker.uptime > timeout
            if late and not worker.leaving:
                worker.failure = f"not ready within READY_TIMEOUT ({timeout} s)"
            if late and not worker.pid:
                worker.mold.give_up(f"it did not fork {worker.name} within {timeout} s")
                worker.close()
            elif worker.leaving:
                if now >= worker.leave_by and worker.pid:
                    self.signal(worker, signal.SIGKILL)
                    worker.leave_by = now + 1.0
            elif late:
                self._abort(worker)
            elif worker.ready and not worker.retiring:
                self._watch(worker, now)
        if now >= self._next_wear:
            self._next_wear = now + _WEAR_SECONDS

    def _watch(self, worker: WorkerHandle, now: float) -> None:
        if worker.hangs(now):
            self._log.critical(
                "[Master] Worker %d (%s) hangs: no sign of life for %s s",
                *(worker.slot, worker.name, worker.generation.config["timeout"]),
                extra=_facts(worker, "worker.hangs"),
            )
            self.retire(worker, "timeout")
        elif worker.seat.overdue:
            self.retire(worker, "request timeout")
        elif now >= self._next_wear and (why := worker.wear()):
            self.retire(worker, why)

    def _abort(self, worker: WorkerHandle) -> None:
        worker.aborted = worker.leaving = True
        worker.leave_by = time.monotonic() + _ABORT_SECONDS
        self.signal(worker, signal.SIGABRT)

    # --- gone

    def bury(self, pid: int, status: int, *, stopping: bool = False, oom: bool = False) -> bool:
        """Takes a child that has ended off the list; False when it was no worker that is known.

        `oom`: the kernel has killed for want of memory since the last child was reaped.
        """
        worker = self._running.pop(pid, None)
        if worker is None:
            if self._unborn:  # its first word may still be on the way
                self._lost[pid] = status
            return False
        worker.observe()  # its last words
        worker.status = status
        why = exits.reason(status, timed_out=worker.aborted, oom_killed=oom)
        self._forget(worker, why, _death(worker, status, why), stopping=stopping)
        return True

    def _forget(
        self, worker: WorkerHandle, why: str, death: Death, *, stopping: bool = False
    ) -> None:
        worker.close()
        worker.gone = True
        if not worker.slot:
            if not worker.passed:
                worker.failure = worker.failure or f"the canary died ({why})"
            self._board.vacate(worker.seat)
            return
        if worker.retiring and worker.leaving:
            why = worker.retiring
        elif worker.aborted:
            why = worker.failure
        replaced = worker.leaving and worker.retiring not in ("", "reload", "return")
        died = (not worker.leaving or worker.aborted) and not stopping
        last = Exit(at=time.time(), pid=worker.pid, reason=why)
        record = self._board.slot(worker.slot)
        record.add_exit(last, restarted=died or replaced)
        if died and death is Death.UNBORN:
            text = worker.traceback or worker.failure or why
            record.add_failed_boot(FailedBoot(at=last.at, traceback=text))
        self._board.vacate(worker.seat)
        name = (worker.slot, worker.name)
        if died:
            self._mourn(worker, why, death)
        elif replaced:
            facts = _facts(worker, "worker.retired", reason=why)
            self._log.info("[Master] Worker %d (%s) retired (%s)", *name, why, extra=facts)
        else:
            facts = _facts(worker, "worker.stopped", reason=why)
            self._log.info("[Master] Worker %d (%s) stopped (%s)", *name, why, extra=facts)

    def _mourn(self, worker: WorkerHandle, why: str, death: Death) -> None:
        """It was not to die: says so, and when its slot gets another."""
        worker.failure = worker.failure or f"{worker.name} died ({why})"
        self.failures[worker.generation.number] = worker
        facts = _facts(worker, "worker.died", reason=why)
        text = "[Master] Worker %d (%s) died (%s). Restarting..."
        if not self.served:
            text = "[Master] Worker %d (%s) died (%s) before any worker was ready"
        self._log.error(text, worker.slot, worker.name, why, extra=facts)
        self._record("crash", who="worker", why=why, worker=worker.name, pid=worker.pid)
        if worker.retiring:
            return  # its successor is there already
        self._died.add(worker.slot)
        before = self._histories.get(worker.slot, History())
        history, pause = respawn.after(before, death, worker.uptime)
        self._histories[worker.slot] = history
        if pause:
            self._held[worker.slot] = time.monotonic() + pause
        if history.exhausted and not before.exhausted:
            self._log.error(
                "[Master] %s is in a crash loop: %d crashes in a row, next try in %.1f s",
                *(worker.name, history.crashes, pause),
                extra=_facts(worker, "worker.crash_loop"),
            )


def _death(worker: WorkerHandle, status: int, why: str) -> Death:
    if not worker.says_ready:
        return Death.UNBORN
    outside = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _FROM_OUTSIDE
    asked = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0  # it has drained after a TERM
    return Death.KILLED if (outside and why != "out of memory") or asked else Death.CRASHED


def _facts(worker: WorkerHandle, event: str, **more: object) -> dict[str, object]:
    return {
        "event": event,
        "pid": worker.pid,
        "slot": worker.slot,
        "worker": worker.name,
        "worker_release": worker.generation.release,
        **more,
    }
