"""A mold as the master sees it: started, told to load, asked for workers, replaced when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum, auto
from typing import Any

from deploy.cluster import protocol
from deploy.cluster.exits import reason
from deploy.cluster.generation import Generation
from deploy.cluster.launch import Launch
from deploy.cluster.mold import Order, command
from deploy.cluster.settings import Settings
from deploy.cluster.worker import Assignment

# A mold that was asked for its stacks gets so long to write them; one that was let go, or that has
# hung up, to end.
_TRACE_SECONDS = 0.5
_END_SECONDS = 5.0
_HANG_UP_SECONDS = 1.0
_TRACE_BYTES = 32 * 1024
_OTHER_KIT = "the release's kit speaks protocol {}, this master {}: restart to upgrade the kit"


class MoldState(Enum):
    """Where a mold is in its life."""

    STARTING = auto()  # it reads its configuration
    CONFIGURED = auto()  # it waits for the word to load
    LOADING = auto()
    READY = auto()  # it forks
    FAILED = auto()  # `failure` says why; its process is gone or about to be


class MoldHandle:
    """One mold's process. Raises OSError when it cannot be started."""

    def __init__(self, launch: Launch, *, number: int, board_fd: int, timeout: float):
        self.number = number
        self.state = MoldState.STARTING
        self.generation: Generation | None = None  # from CONFIGURED on
        self.failure = ""
        self.traceback = ""
        self.exit_code: int | None = None  # that its error asks for
        self.preload = ""  # mold or fresh, from READY on
        self.unsafe: list[str] = []  # what the application leaves open
        self.load_seconds = 0.0
        self._launch = launch
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._control, theirs = protocol.pair()
        self._trace = os.memfd_create("mold-trace")
        self._dying_at: float | None = None
        order = Order(
            control=theirs.fileno(),
            board=board_fd,
            trace=self._trace,
            generation=number,
            master=os.getpid(),
        )
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the release's own interpreter
                command(launch.python, order, launch.arguments),
                cwd=launch.directory,
                env=dict(launch.environ),
                stdin=subprocess.DEVNULL,
                pass_fds=order.descriptors,
            )
        except OSError:
            self._control.close()
            os.close(self._trace)
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it forks."""
        return self.state is MoldState.READY and self.fileno() >= 0

    @property
    def over(self) -> bool:
        """It has failed, and nothing more will be heard of why."""
        return self.state is MoldState.FAILED and not self.alive

    @property
    def alive(self) -> bool:
        """Whether its process is still to be reaped."""
        return self._process.returncode is None

    def fileno(self) -> int:
        """The descriptor to wait for; -1 when nothing more will come."""
        return self._control.fileno()

    def observe(self, now: float) -> None:
        """Hears what it says, and ends it when it takes too long."""
        while self.fileno() >= 0:
            try:
                received = protocol.receive(self._control)
                if received is None:
                    self._hang_up()
                    break
                self._take(received[0])
            except BlockingIOError:
                break
            except (OSError, protocol.ProtocolError, ValueError, LookupError, TypeError) as error:
                self.give_up(f"the mold does not speak as it should: {error}")
        self._press(now)

    def load(self) -> None:
        """Its configuration will do: it may load the application."""
        self.state = MoldState.LOADING
        self._send({"type": "load"})

    def spawn(self, assignment: Assignment, report: int, listeners: Sequence[int]) -> None:
        """Asks for a worker that listens there and reports its boot on `report`."""
        self._send({"type": "spawn", **asdict(assignment)}, [report, *listeners])

    def reopen_logs(self) -> None:
        """The workers to come write to the log files that are there by then."""
        if self.ready:
            self._send({"type": "reopen"})

    def discard(self) -> None:
        """It is not needed any more; one that forks ends by itself, any other at once."""
        idle = self.ready
        self._fail("discarded")
        self._control.close()
        self._dying_at = time.monotonic() + (_END_SECONDS if idle else 0.0)
        self._press(time.monotonic())

    def give_up(self, why: str) -> None:
        """It does not do what it is asked: it is ended, and another takes its place."""
        self._fail(why)
        self._kill()

    def reaped(self, status: int) -> None:
        """Its process has ended; what it had to say is heard before that is taken for the cause."""
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.observe(time.monotonic())
        written = os.pread(self._trace, _TRACE_BYTES, 0).decode(errors="replace")
        self.traceback = self.traceback or written
        why = reason(status, timed_out=False, oom_killed=False)
        self._fail(f"the mold ended ({why})")
        self._control.close()
        os.close(self._trace)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "hello":
                if message["protocol"] != protocol.VERSION:
                    self.give_up(_OTHER_KIT.format(message["protocol"], protocol.VERSION))
            case "configured":
                settings = Settings.from_message(message["settings"])
                self.generation = Generation(
                    number=self.number,
                    settings=settings,
                    config=message["config"],
                    launch=self._launch.pinned(
                        config=message["config_file"], chdir=message["chdir"]
                    ),
                )
                self._deadline += settings.ready_timeout - self._timeout
                self._timeout = settings.ready_timeout
                self.state = MoldState.CONFIGURED
            case "ready":
                self.preload, self.unsafe = message["preload"], message["unsafe"]
                self.load_seconds = float(message["seconds"])
                self.state = MoldState.READY
            case "failed":
                self.exit_code = message["exit_code"]
                self.traceback = message["traceback"]
                self._fail(message["reason"])
                self._dying_at = time.monotonic() + _HANG_UP_SECONDS
            case other:
                raise protocol.ProtocolError(f"unknown message {other!r}")

    def _fail(self, why: str) -> None:
        if self.state is not MoldState.FAILED:
            self.state = MoldState.FAILED
            self.failure = why

    def _hang_up(self) -> None:
        """It ends, and its status will say why; or it has closed what it must not."""
        self._control.close()
        self._dying_at = self._dying_at or time.monotonic() + _HANG_UP_SECONDS

    def _press(self, now: float) -> None:
        if not self.alive:
            return
        if self._dying_at is not None:
            if now >= self._dying_at:
                self._kill()
        elif self.state is not MoldState.READY and now >= self._deadline:
            self._fail(f"the release is not loaded within READY_TIMEOUT ({self._timeout:g} s)")
            os.kill(self.pid, signal.SIGQUIT)  # it writes where it is
            self._dying_at = now + _TRACE_SECONDS

    def _kill(self) -> None:
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)

    def _send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            protocol.send(self._control, message, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            self._hang_up()
        except OSError as error:
            self.give_up(f"the mold does not listen ({error.strerror})")
