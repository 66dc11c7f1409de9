"""Whether the running release answers its readiness probe, asked from a start until it does.

At a start there is nothing to fall back on, so the probe gates nothing: the workers serve, and the
service is shown as degraded with the failing check until a canary passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.cluster.worker_handle import WorkerHandle
from deploy.state.scoreboard import Scoreboard

# While READY_TIMEOUT runs, and after it: seconds between two canaries.
_SOON, _LATER = 1.0, 15.0


class Health:
    """The probe of the good mold's release."""

    def __init__(self, board: Scoreboard, log: Any):
        self._board = board
        self._log = log
        self._canary: WorkerHandle | None
        self.restart()

    @property
    def pending(self) -> bool:
        """Whether a canary is out."""
        return self._canary is not None

    def passed(self) -> None:
        """The release has answered elsewhere: as a candidate."""
        self._known = True
        self._canary = None
        self._board.fail("")

    def restart(self) -> None:
        """A release serves that was not asked yet."""
        self._board.fail("")
        self._canary = None
        self._known = False
        self._began = 0.0
        self._next = 0.0
        self._said = 0  # how often the failing check was named in the log

    def step(self, now: float, *, timeout: float, ask: Callable[[], WorkerHandle | None]) -> None:
        """Sends a canary when one is due, and hears the last one out; `timeout`: READY_TIMEOUT."""
        if self._known:
            return
        self._began = self._began or now
        if self._canary is None:
            if now >= self._next:
                self._canary = ask()
            return
        if not self._canary.gone:
            return
        canary, self._canary = self._canary, None
        if canary.passed:
            self._pass()
            return
        late = now - self._began >= timeout
        self._next = now + (_LATER if late else _SOON)
        self._board.fail(canary.failure)
        if self._said <= late:
            self._said = 1 + late
            self._name(canary.failure, timeout, late=late)

    def _pass(self) -> None:
        self.passed()
        if self._said:
            self._log.info("[Master] The readiness probe passes", extra={"event": "probe.passed"})

    def _name(self, check: str, timeout: float, *, late: bool) -> None:
        if late:
            text = "[Master] Degraded after %g s: %s"
            self._log.error(text, timeout, check, extra={"event": "probe.degraded"})
        else:
            text = "[Master] The readiness probe fails: %s. Serving all the same, and asking again"
            self._log.warning(text, check, extra={"event": "probe.failed"})
