"""A reload under way: its candidate, its canary, and what becomes of both.

`rollout.py` decides; this carries it out, a step at each turn of the master's loop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from deploy.cluster import listeners as sockets
from deploy.cluster import slots
from deploy.cluster.crew import Crew
from deploy.cluster.launch import Launch, LaunchError
from deploy.cluster.mold_handle import MoldHandle, MoldState
from deploy.cluster.rollout import Action, Observed, Phase, next_step
from deploy.cluster.settings import Settings, SettingsError
from deploy.cluster.worker_handle import WorkerHandle
from deploy.state.layout import Leave, Outcome
from deploy.state.reload_record import Reload
from deploy.state.request import Request
from deploy.state.scoreboard import Scoreboard


class Site(Protocol):
    """What a reload works on: the arbiter."""

    LISTENERS: list[Any]
    board: Scoreboard
    cfg: Any
    crew: Crew
    log: Any
    num_workers: int
    settings: Settings
    systemd: bool

    def wanted(self, mode: str, configured: int) -> int:
        """How many workers there are to be under such a configuration."""

    def adopt_generation(self, mold: MoldHandle, listeners: list[Any], cfg: Any) -> None:
        """The candidate has become the good mold."""

    def record(self, event: str, **facts: object) -> None:
        """Into the ledger."""


@dataclass(frozen=True)
class Ended:
    """How a reload ended; in `reason`, one line."""

    complete: bool
    reason: str
    traceback: str
    force: bool


class Reloading:
    """One reload, from the HUP to its outcome."""

    def __init__(
        self,
        site: Site,
        launch: Launch,
        *,
        number: int,
        generation: int,
        request: Request | None,
        who: str,
    ):
        self._site = site
        self._request = request
        self._who = who
        self._phase = Phase.LOADING
        self._canary: WorkerHandle | None = None
        self._listeners: list[Any] = list(site.LISTENERS)
        self._cfg: Any = site.cfg
        self._refusal = ""
        self._traceback = ""
        self._return_by = 0.0
        self._started = time.monotonic()
        self._board_record = Reload(
            number=number,
            outcome=Outcome.RUNNING,
            started=time.time(),
            ended=0.0,
            request=request.id if request else "",
            release="",
            phase="",
            reason="",
            traceback="",
        )
        self.mold: MoldHandle | None = None
        try:
            self.mold = MoldHandle(
                launch.resolved(),
                number=generation,
                board_fd=site.board.descriptor,
                timeout=site.settings.ready_timeout,
            )
        except (LaunchError, OSError) as error:
            self._refusal = str(error)
        self._show("the new release reads its configuration")

    @property
    def force(self) -> bool:
        """Without the probe."""
        return bool(self._request and self._request.force)

    @property
    def spawning(self) -> bool:
        """Whether new workers are the candidate's."""
        return self._phase is Phase.REPLACING

    @property
    def listeners(self) -> Sequence[Any]:
        """What the candidate's workers listen at."""
        return self._listeners

    def step(self, now: float) -> Ended | None:
        """The next step; the outcome when it was the last one."""
        self._verify()
        step = next_step(self._phase, self._observe(now), probe=not self.force)
        match step.action:
            case Action.PROBE:
                self._probe()
            case Action.REPLACE:
                self._replace()
            case Action.COMMIT:
                return self._commit()
            case Action.RETURN:
                self._return(step.reason, now)
            case Action.REFUSE:
                return self._refuse(self._refusal or step.reason)
        self._show_progress()
        return None

    def abandon(self) -> None:
        """The master stops: nothing is left of the candidate but workers that serve."""
        if self._canary is not None and not self._canary.gone:
            self._site.crew.stop(self._canary)
        if self.mold is not None and self.mold.alive:
            self.mold.discard()
        self._close_new()

    # --- what is observed

    def _verify(self) -> None:
        """Before the candidate loads the application: can it be served here at all?"""
        mold = self.mold
        if mold is None or mold.state is not MoldState.CONFIGURED or mold.generation is None:
            return
        try:
            self._cfg = mold.generation.configure(self._site.cfg)
            self._close_new()
            if not self._site.systemd:  # a systemd socket wins
                self._listeners = sockets.rebind(self._site.LISTENERS, self._cfg, self._site.log)
        except SettingsError as error:
            self._refusal = str(error)
            return
        self._board_record = replace(self._board_record, release=mold.generation.release)
        self._show(f"release {mold.generation.release} loads")
        mold.load()

    def _observe(self, now: float) -> Observed:
        mold, canary = self.mold, self._canary
        failure, trace = self._refusal, self._traceback
        if not failure and mold is not None and mold.over:
            failure, trace = mold.failure, mold.traceback
        if not failure and canary is not None and canary.gone and not canary.passed:
            failure, trace = canary.failure, canary.traceback
        if not failure and mold is not None and mold.number in self._site.crew.failures:
            worker = self._site.crew.failures[mold.number]
            failure, trace = worker.failure, worker.traceback
        self._traceback = self._traceback or trace
        return Observed(
            loaded=mold is not None and mold.ready,
            failure=failure,
            passed=canary is not None and canary.gone and canary.passed,
            settled=self._settled(),
            overdue=now >= self._return_by,
        )

    def _settled(self) -> bool:
        """Before the last old worker is told to leave, so that its listeners can end before it."""
        members, wanted = self._site.crew.members(), self._site.num_workers
        if self._phase is not Phase.REPLACING or self.mold is None:
            return slots.settled(members, wanted)
        new = [worker for worker in members if worker.generation.number == self.mold.number]
        return slots.ready_slots(new, wanted) == wanted

    # --- what is done

    def _probe(self) -> None:
        assert self.mold is not None  # noqa: S101 - it is loaded
        assert self.mold.generation is not None  # noqa: S101
        self._canary = self._site.crew.ask(
            self.mold,
            0,
            listeners=[],
            workers=self._site.num_workers,
            probe=self.mold.generation.settings.ready_path,
        )
        if self._canary is not None:
            self._phase = Phase.PROBING
            self._show("the canary answers the readiness probe")

    def _replace(self) -> None:
        assert self.mold is not None  # noqa: S101 - it is loaded
        assert self.mold.generation is not None  # noqa: S101
        self._phase = Phase.REPLACING
        generation = self.mold.generation
        wanted = self._site.wanted(generation.settings.mode, generation.config["workers"])
        if wanted > self._site.num_workers:  # fewer only when it is done
            self._site.num_workers = wanted
        moved = any(each not in self._listeners for each in self._site.LISTENERS)
        old = [w for w in self._site.crew.members() if w.generation.number != generation.number]
        for worker in old:
            if not worker.leaving:
                worker.retiring = "reload"
            if moved:  # slots are replaced in their order
                last = worker.slot == max(other.slot for other in old)
                worker.seat.leaves(Leave.LAST if last else Leave.CLOSE)

    def _return(self, reason: str, now: float) -> None:
        """The good release takes back what has been replaced; the others simply stay."""
        self._refusal = reason
        self._phase = Phase.RETURNING
        site = self._site
        site.num_workers = site.wanted(site.settings.mode, site.cfg.workers)
        mold = self.mold
        for worker in self._site.crew.members():
            if mold is not None and worker.generation.number == mold.number:
                worker.retiring = "return"
            elif worker.retiring == "reload" and not worker.leaving:
                worker.retiring = ""
                worker.seat.leaves(Leave.SHARED)
        self._return_by = now + self._site.settings.ready_timeout
        self._show("the workers return to the former release")

    def _commit(self) -> Ended:
        assert self.mold is not None  # noqa: S101 - its workers serve
        old = [each for each in self._site.LISTENERS if each not in self._listeners]
        self._site.adopt_generation(self.mold, self._listeners, self._cfg)
        sockets.close(old)
        self._end(Outcome.COMPLETE, "")
        return Ended(complete=True, reason="", traceback="", force=self.force)

    def _refuse(self, reason: str) -> Ended:
        self.abandon()
        self._end(Outcome.REFUSED, reason)
        return Ended(complete=False, reason=reason, traceback=self._traceback, force=self.force)

    def _close_new(self) -> None:
        sockets.close([each for each in self._listeners if each not in self._site.LISTENERS])
        self._listeners = list(self._site.LISTENERS)

    # --- what is said

    def _end(self, outcome: Outcome, reason: str) -> None:
        self._board_record = replace(
            self._board_record,
            outcome=outcome,
            ended=time.time(),
            phase="",
            reason=reason,
            traceback=self._traceback,
        )
        self._site.board.describe_reload(self._board_record)
        self._site.record(
            "reload",
            who=self._who,
            why=self._request.why if self._request else "",
            outcome="complete" if outcome is Outcome.COMPLETE else "refused",
            release=self._board_record.release,
            reason=reason,
            request=self._board_record.request,
            traceback=self._traceback,
            seconds=round(time.monotonic() - self._started, 3),
        )

    def _show_progress(self) -> None:
        if self._phase is Phase.REPLACING and self.mold is not None:
            new = [
                w
                for w in self._site.crew.members()
                if w.generation.number == self.mold.number and w.ready
            ]
            self._show(f"{len(new)} of {self._site.num_workers} workers are new")

    def _show(self, phase: str) -> None:
        if phase != self._board_record.phase:
            self._board_record = replace(self._board_record, phase=phase)
            self._site.board.describe_reload(self._board_record)
