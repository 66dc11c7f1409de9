"""The mold of the release that serves: started, rebuilt when it dies, followed by the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gunicorn.errors import HaltServer

from deploy.cluster import respawn
from deploy.cluster.generation import Generation
from deploy.cluster.launch import Launch, LaunchError
from deploy.cluster.mold_handle import MoldHandle, MoldState
from deploy.state.scoreboard import Scoreboard

# Gunicorn's own code for a worker that cannot boot.
_DOES_NOT_LOAD = 3


class GoodMold:
    """At most one process at a time, of one release until `adopt` brings another."""

    def __init__(self, *, board: Scoreboard, log: Any, record: Callable[..., None]):
        self.handle: MoldHandle | None = None
        self.generation: Generation | None = None  # from the first readiness on
        self._number = 1
        self._board = board
        self._log = log
        self._record = record
        self._failures = 0  # in a row
        self._not_before = 0.0  # monotonic; 0: it is there, or is to be started now

    @property
    def ready(self) -> bool:
        """Whether it forks."""
        return self.handle is not None and self.handle.ready

    def step(self, now: float, *, first: Callable[[], Launch], timeout: float) -> None:
        """Starts it, lets it load, and starts it anew when it has died; `timeout`: to load.

        `first` says how to start it as long as it has never been ready. Raises HaltServer when it
        does not load then: there is nothing to serve.
        """
        mold = self.handle
        if mold is None:
            if now >= self._not_before:
                self._start(first, timeout)
        elif mold.over:
            self.handle = None
            self._fail(mold.failure, mold.traceback, mold.exit_code)
        elif mold.state is MoldState.CONFIGURED:
            mold.load()
        elif mold.ready and mold.generation is not self.generation:
            self._take_up(mold)

    def adopt(self, mold: MoldHandle) -> MoldHandle | None:
        """A candidate has become the good one; returns the former, which is to be discarded."""
        former, self.handle = self.handle, mold
        self.generation, self._number = mold.generation, mold.number
        self._failures, self._not_before = 0, 0.0
        self._warn_of_open_files(mold)
        return former

    def _start(self, first: Callable[[], Launch], timeout: float) -> None:
        self._not_before = 0.0
        try:
            launch = self.generation.launch if self.generation else first().resolved()
            self.handle = MoldHandle(
                launch, number=self._number, board_fd=self._board.descriptor, timeout=timeout
            )
        except (LaunchError, OSError) as error:
            self._fail(str(error), "", None)

    def _fail(self, why: str, traceback: str, exit_code: int | None) -> None:
        text = "[Master] The application does not load: %s"
        if self.generation is not None:
            text = "[Master] The mold of the good release is gone: %s. Rebuilding it"
        self._log.error(text, why, extra={"event": "mold.failed"})
        if traceback:
            self._log.error("%s", traceback.rstrip())
        if self.generation is None:
            self._record("start", outcome="failed", why=why)
            raise HaltServer("The application does not load.", exit_code or _DOES_NOT_LOAD)
        self._record("mold", outcome="lost", why=why)
        self._failures += 1
        self._not_before = time.monotonic() + respawn.pause(self._failures - 1)
        if self._failures > 1:
            self._board.fail(f"the mold cannot be rebuilt: {why}")

    def _take_up(self, mold: MoldHandle) -> None:
        """It is ready for the first time, or again after it had died."""
        first, self.generation = self.generation is None, mold.generation
        if self._failures:
            self._failures = 0
            self._board.fail("")
        self._warn_of_open_files(mold)
        release = mold.generation.release if mold.generation else ""
        self._log.info(
            "[Master] Release %s is loaded (%s, %.1f s)",
            *(release, mold.preload, mold.load_seconds),
            extra={"event": "mold.ready", "preload": mold.preload},
        )
        if first:
            self._record("start", outcome="loaded", release=release)

    def _warn_of_open_files(self, mold: MoldHandle) -> None:
        if mold.unsafe:
            self._log.warning(
                "[Master] The application is not safe to fork after its import, so %s: %s",
                "each worker imports it afresh"
                if mold.preload == "fresh"
                else "CLUSTER_PRELOAD=mold is a risk",
                "; ".join(mold.unsafe),
                extra={"event": "mold.unsafe", "unsafe": mold.unsafe},
            )
