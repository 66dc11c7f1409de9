"""What systemd is told of the service (sd_notify(3)): the sender, and what is owed to it when.

systemd listens to the unit's main process alone (NotifyAccess=main), and takes messages in the
order in which they were sent, before it looks at who has ended. So of two masters (USR2):

- the new one is silent as long as it is not the main process: what it says would be dropped, with a
  warning in the journal;
- the old one, when it is told to leave, says `MAINPID=` of the new one, and that is its last word.
  `STOPPING=1` before it would end the unit, and after it nobody listens;
- the new one then says `READY=1`, its status and `WATCHDOG=1`. It knows from SIGWINCH, which the
  old one sends after its last word, or else from the end of its parent. Gunicorn gives SIGWINCH no
  meaning outside of daemon mode.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from deploy.state.layout import Outcome
from deploy.state.reload_record import NEVER, Reload

_STATUS_CHARACTERS = 240
# systemd keeps one line; a change that is overtaken within the second is not worth a message.
_STATUS_SECONDS = 1.0


class Sender:
    """A datagram to the socket of NOTIFY_SOCKET; never raises and never blocks."""

    def __init__(self, path: str):
        self._address = f"\0{path[1:]}" if path.startswith("@") else path

    @property
    def on(self) -> bool:
        """Whether anybody is to be told anything."""
        return self._address.startswith(("/", "\0"))

    def send(self, *lines: str) -> bool:
        """Whether the lines were handed over, as one message."""
        if not self.on:
            return False
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            message = "\n".join(lines).encode(errors="replace")
            to.sendto(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._address)
            return True
        return False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The service as it is at one moment."""

    ready: int
    wanted: int
    mode: str
    release: str
    failing: str = ""  # the check that fails
    reload: Reload = NEVER  # the last one, running or done


@dataclass(frozen=True, kw_only=True)
class Said:
    """What systemd knows already."""

    ready: bool = False
    reloading: bool = False
    reload: int = 0  # number of the last reload that it has heard of, or need not


def status(facts: Facts) -> str:
    """The line that `systemctl status` shows."""
    parts = [f"{facts.ready}/{facts.wanted} ready", facts.mode, f"release {facts.release}"]
    if facts.failing:
        parts.append(f"degraded: {facts.failing}")
    if facts.reload.outcome is Outcome.RUNNING:
        parts.append(f"reloading: {facts.reload.phase}")
    elif facts.reload.outcome is Outcome.REFUSED:
        parts.append(f"last reload refused: {facts.reload.reason}")
    line = " ".join(" · ".join(parts).split())
    if len(line) > _STATUS_CHARACTERS:
        line = line[: _STATUS_CHARACTERS - 1] + "…"
    return line


def owed(said: Said, facts: Facts) -> tuple[str, Said] | None:
    """The next change of state to tell, and what is known then; None when all is told."""
    running, number = facts.reload.outcome is Outcome.RUNNING, facts.reload.number
    if not said.ready:
        if not facts.wanted or facts.ready < facts.wanted:
            return None
        return "READY=1", Said(ready=True, reload=number - running)
    if said.reloading:
        if running and number == said.reload:
            return None
        return "READY=1", replace(said, reloading=False)
    if number > said.reload:
        return "RELOADING=1", replace(said, reloading=True, reload=number)
    return None


class Notifier:
    """Tells what has changed, each state once and the status line at most once a second."""

    def __init__(self, sender: Sender):
        self._sender = sender
        self._said = Said()
        self._status = ""
        self._next_status = 0.0  # monotonic

    @property
    def ready(self) -> bool:
        """Whether systemd has heard that the service is ready."""
        return self._said.ready

    def step(self, now: float, facts: Facts) -> None:
        """Says what is owed; what could not be handed over is tried again with the next step."""
        line = status(facts)
        while (due := owed(self._said, facts)) is not None:
            change, then = due
            if not self._sender.send(*_with_clock(change, now), f"STATUS={line}"):
                return
            self._said, self._status, self._next_status = then, line, now + _STATUS_SECONDS
        if (
            line != self._status
            and now >= self._next_status
            and self._sender.send(f"STATUS={line}")
        ):
            self._status, self._next_status = line, now + _STATUS_SECONDS

    def stopping(self) -> None:
        """The service ends."""
        self._sender.send("STOPPING=1", "STATUS=stopping: requests in flight are answered")

    def hand_over(self, pid: int) -> None:
        """The service goes on, and that process is its main one."""
        self._sender.send(f"MAINPID={pid}")


def _with_clock(change: str, now: float) -> Iterator[str]:
    yield change
    if change == "RELOADING=1":  # systemd tells this reload's READY=1 from an older one by it
        yield f"MONOTONIC_USEC={int(now * 1_000_000)}"
