"""The consumers of a development start: our own application's, in one process beside the workers.

In production each is a service of its own. Our end of its input is its lifeline. Nobody else holds
that end, as each process that the master starts closes what it was not given: when the master is
gone, however it went, the input ends, and so do the consumers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from deploy.cluster import exits, respawn
from deploy.cluster.generation import Generation
from deploy.cluster.module_process import start_module
from deploy.cluster.respawn import Death, History
from deploy.cluster.settings import OWN_APPLICATION

_MODULE = "app.consumers"
_FILE = Path("app", "consumers", "__main__.py")  # where the module is, if a release brings it


class Companion:
    """At most one process at a time; a death of its own is logged, and nothing else suffers."""

    def __init__(self, log: Any):
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._generation = 0  # whose code it runs
        self._patience = 0.0  # seconds that it gets to end
        self._began = 0.0  # monotonic
        self._kill_at: float | None = None  # monotonic; None: it is not told to end
        self._history = History()
        self._not_before = 0.0  # monotonic; no next one earlier

    def step(self, now: float, generation: Generation | None) -> None:
        """Starts what is due, of the release that serves; never waits.

        After a reload the former release's consumers are ended first. None: nothing serves yet.
        """
        if generation is None:
            return
        if self._process is None:
            if generation.number != self._generation:  # what the former's died of counts no more
                self._generation = generation.number
                self._history, self._not_before = History(), 0.0
            if now >= self._not_before and has_consumers(generation):
                self._start(now, generation)
        elif self._kill_at is None and generation.number != self._generation:
            self._hang_up()
            self._kill_at = now + self._patience
        elif self._kill_at is not None and now >= self._kill_at:
            self._kill()
            self._kill_at = float("inf")

    def reaped(self, pid: int, status: int) -> bool:
        """Whether the child was ours; one that was not told to end gets a successor, in time."""
        process = self._process
        if process is None or pid != process.pid:
            return False
        process.returncode = os.waitstatus_to_exitcode(status)
        self._hang_up()
        self._process = None
        if self._kill_at is None:
            why = exits.reason(status, timed_out=False, oom_killed=False)
            self._mourn(f"died ({why})")
        self._kill_at = None
        return True

    def stop(self) -> None:
        """Ends it, and returns when it is gone: GRACEFUL_TIMEOUT at most, then it is killed."""
        process = self._process
        if process is None:
            return
        self._hang_up()
        try:
            process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self._kill()
            process.wait()
        self._process = None

    def _start(self, now: float, generation: Generation) -> None:
        self._began = now
        try:
            self._process = start_module(
                *(_MODULE, "develop", "--hold"),
                environ=_environment(generation),
                cwd=generation.config["chdir"],
                stdin=subprocess.PIPE,
                stdout=None,  # as ours: nobody reads a pipe for as long as it lives
                start_new_session=True,  # Ctrl-C is for the master, which ends it in order
            )
        except OSError as error:
            self._mourn(f"do not start ({error.strerror})")
            return
        self._patience = generation.settings.graceful_timeout
        self._log.info(
            "[Master] Consumers started (pid %d)",
            self._process.pid,
            extra={"event": "consumers.started"},
        )

    def _mourn(self, what: str) -> None:
        now = time.monotonic()
        self._history, pause = respawn.after(self._history, Death.CRASHED, now - self._began)
        self._not_before = now + pause
        self._log.error(
            "[Master] Consumers %s. Restarting%s",
            *(what, f" in {pause:.1f} s" if pause else "..."),
            extra={"event": "consumers.died", "pause": pause},
        )

    def _hang_up(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _kill(self) -> None:
        if self._process is None:
            return
        self._log.warning(
            "[Master] Consumers did not end within %g s: killed",
            self._patience,
            extra={"event": "consumers.killed"},
        )
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def has_consumers(generation: Generation) -> bool:
    """Whether consumers go with this release here: ours, in development, with a database."""
    return (
        generation.settings.development_consumers
        and generation.application == OWN_APPLICATION
        and bool(_environment(generation).get("DATABASE_URL"))
        and Path(generation.config["chdir"], _FILE).is_file()
    )


def _environment(generation: Generation) -> dict[str, str]:
    """As its workers': what the mold was started with, and what the configuration adds."""
    added = (pair.partition("=") for pair in generation.config["raw_env"])
    return {**generation.launch.environ, **{name: value for name, _, value in added}}
