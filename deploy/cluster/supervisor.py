"""systemd above the master: what it gave us, and what it is told at each turn of the loop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import MutableMapping
from typing import Any, Protocol

from deploy.cluster import slots
from deploy.cluster.crew import Crew
from deploy.cluster.notify import Facts, Notifier, Sender
from deploy.cluster.settings import Settings
from deploy.cluster.watchdog import Watchdog
from deploy.state.scoreboard import Scoreboard

# The master's alone: an application cannot know what these would have it say.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Service(Protocol):
    """What there is to tell: the arbiter."""

    LISTENERS: list[Any]
    board: Scoreboard
    cfg: Any
    crew: Crew
    master_pid: int
    num_workers: int
    release: str
    settings: Settings


class Supervisor:
    """systemd; without one, or with another, every method does nothing."""

    def __init__(self, environ: MutableMapping[str, str], pid: int, log: Any):
        """Takes the variables out of `environ`; `pid` is the master's own."""
        given = {name: environ.pop(name, "") for name in VARIABLES}
        self._sender = Sender(given["NOTIFY_SOCKET"])
        self._notifier = Notifier(self._sender)
        ours = given["WATCHDOG_PID"] in ("", str(pid)) and given["WATCHDOG_USEC"].isdecimal()
        self._watchdog = Watchdog(
            int(given["WATCHDOG_USEC"]) if ours and self._sender.on else 0,
            feed=lambda: self._sender.send("WATCHDOG=1"),
            log=log,
        )
        self._entitled = False  # the former master has said that we are the main process
        self._ended = False

    @property
    def waiting(self) -> list[tuple[int, int]]:
        """Descriptors and events of poll(2) that call for a step."""
        return self._watchdog.waiting

    @property
    def seconds(self) -> float:
        """How long a step can wait, unless one of them calls."""
        return self._watchdog.seconds

    def entitle(self) -> None:
        """The former master has handed over; before its end it is heard no more, and we are."""
        self._entitled = True

    def step(self, now: float, service: Service) -> None:
        """Says what has changed; the watchdog goes from the readiness to the stop."""
        if not self._sender.on or self._ended or not self._speaks(service):
            return
        self._notifier.step(now, _facts(service))
        if self._notifier.ready:
            first = service.LISTENERS[0] if service.LISTENERS else None
            self._watchdog.step(
                now,
                address=first.getsockname() if first is not None else None,
                path=service.settings.watchdog_path,
                tls=bool(service.cfg.is_ssl),
            )

    def leave(self, service: Service, *, successor: int) -> None:
        """The master stops; `successor` is the pid of the second master, 0 without one."""
        if self._ended or not self._sender.on:
            return
        self._ended = True
        self._watchdog.close()
        if successor:
            self._notifier.hand_over(successor)
            with contextlib.suppress(ProcessLookupError):
                os.kill(successor, signal.SIGWINCH)
        elif self._speaks(service):
            self._notifier.stopping()

    def _speaks(self, service: Service) -> bool:
        return self._entitled or service.master_pid == 0


def _facts(service: Service) -> Facts:
    return Facts(
        ready=slots.ready_slots(service.crew.members(), service.num_workers),
        wanted=service.num_workers,
        mode=service.settings.mode,
        release=service.release,
        failing=service.board.failing,
        reload=service.board.reload(),
    )
