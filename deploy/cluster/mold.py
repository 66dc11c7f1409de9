"""The mold: a process that loads one release once, and forks its workers.

The master starts it with the release's own interpreter, so that a reload may bring other code,
other dependencies and another Python, and so that nothing of the application is ever in the master.
It reads the configuration, loads the application, says so, and then forks a worker whenever the
master asks. The fork is double: the process in the middle leaves at once, and the worker becomes a
child of the master, which is a child subreaper (prctl(2)). The idea is pitchfork's, a Ruby server.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from gunicorn import sock, util
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from setproctitle import setproctitle

from deploy.cluster import allocator, process_control, promises, protocol, settings
from deploy.cluster.fork_safety import OpenFiles, unsafe
from deploy.cluster.worker import (
    Assignment,
    BootReport,
    equip,
    exit_code_of,
    reason_of,
    traceback_of,
)
from deploy.state.scoreboard import Scoreboard

# The kit's folder comes last in the path: what the release has installed wins. A release whose kit
# or Gunicorn does not load says so where the master looks after the mold's end.
BOOTSTRAP = """
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv[1]]
try:
    from deploy.cluster.mold import main
except BaseException:
    import json, os, traceback
    os.write(json.loads(sys.argv[2])["trace"], traceback.format_exc().encode())
    raise
main()
"""
# A collection is due after so many new objects, as in Python 3.13; before it was 700, and Flask's
# few cycles a request cost a fortieth of its time.
_NEW_OBJECTS = 2000
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the master wants this mold to be; it travels as JSON among the arguments."""

    control: int  # descriptor of the socket to the master
    board: int  # of the scoreboard
    trace: int  # where the stacks go when SIGQUIT asks for them
    generation: int
    master: int  # its pid
    unsafe: tuple[str, ...] = ()  # found by this process before it started anew

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What must stay open across the exec."""
        return self.control, self.board, self.trace


def command(python: Path, order: Order, arguments: Sequence[str]) -> list[str]:
    """The command line of a mold."""
    kit = str(Path(__file__).resolve().parents[2])
    return [str(python), "-c", BOOTSTRAP, kit, json.dumps(asdict(order)), *arguments]


class ReleaseApplication(WSGIApplication):
    """Gunicorn's application, whose wrong configuration is an error and not the end."""

    def __init__(self) -> None:
        super().__init__("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn")

    def do_load_config(self) -> None:
        """As Gunicorn's, without its exit; raises whatever is wrong."""
        self.load_default_config()
        try:
            self.load_config()
        except SystemExit as exiting:
            # Gunicorn has printed the traceback; the error itself is what we were handling.
            raise exiting.__context__ or ConfigurationError(exiting.code) from None
        self.cfg.validate()


class ConfigurationError(ValueError):
    """Gunicorn refused its command line."""

    exit_code = 2

    def __init__(self, code: object):
        super().__init__(f"Gunicorn refuses its arguments (exit code {code}), see above")


class MoldArbiter(Arbiter):
    """Stands in for the arbiter in hooks and in `spawn_worker`; it rules nobody."""

    def become(self, order: Order, board: Scoreboard) -> None:
        """Takes the master's place as far as workers see it."""
        self.pid = order.master
        self._order = order
        self._board = board

    def fork(self, assignment: Assignment, listeners: Sequence[int], report: BootReport) -> None:
        """In the middle process: forks the worker and leaves it to the master."""
        self.worker_age = assignment.age - 1  # spawn_worker adds one
        self._num_workers = assignment.workers
        self.LISTENERS = [_listener(fd, self.cfg, self.log) for fd in listeners]
        kind = self.cfg.worker_class

        def equipped(*arguments: Any) -> Any:
            worker = kind(*arguments)
            seat = self._board.seat(
                assignment.row,
                slot=assignment.slot,
                generation=assignment.generation,
                born=assignment.born,
            )
            equip(worker, assignment, seat=seat, board_fd=self._order.board, report=report)
            return worker

        self.worker_class = equipped
        try:
            pid = self.spawn_worker()
        except SystemExit as exiting:  # only ever in the worker, at its end
            code = exit_code_of(exiting.__context__)
            if code is not None:
                sys.exit(code)
            raise
        report.started(pid)


class Mold:
    """One release, loaded, and what the master asks of it."""

    def __init__(self, order: Order, environ: Mapping[str, str]):
        self._order = order
        self._environ = environ
        self._directory = Path.cwd()
        self._control = socket.socket(fileno=order.control)
        self._board = Scoreboard.attach(order.board, Path("scoreboard"))

    def run(self) -> None:
        """Until the master closes its end."""
        try:
            arbiter, kit = self._configure()
            loaded = self._load(arbiter, kit)
        except Exception as error:
            self._say("failed", **_facts_of(error))
            sys.exit(1)
        self._say("ready", **loaded)
        self._serve(arbiter)

    def _configure(self) -> tuple[MoldArbiter, settings.Settings]:
        self._say("hello", protocol=protocol.VERSION)
        # First, as the configuration itself does: Gunicorn changes the directory with it.
        kit = settings.load(os.environ)
        app = ReleaseApplication()
        promises.refuse(app.cfg)
        self._say(
            "configured",
            settings=kit.as_message(),
            config=_plain_values(app.cfg),
            chdir=str(Path.cwd()),
            config_file=_config_file(app.cfg, self._directory),
        )
        setproctitle(f"gunicorn: mold gen {self._order.generation} release {kit.release}")
        if self._receive()["type"] != "load":
            raise protocol.ProtocolError("expected to be told to load")
        # As the workers will: an application must not be loaded with more rights than it runs with.
        util.set_owner_process(app.cfg.uid, app.cfg.gid, initgroups=app.cfg.initgroups)
        # A change of user takes the death signal back (PR_SET_PDEATHSIG(2const)).
        process_control.die_with_parent(self._order.master, signal.SIGKILL)
        arbiter = MoldArbiter(app)
        arbiter.become(self._order, self._board)
        return arbiter, kit

    def _load(self, arbiter: MoldArbiter, kit: settings.Settings) -> protocol.Message:
        """Loads the application, unless each worker is to import it afresh."""
        started = time.monotonic()
        first, *others = gc.get_threshold()
        gc.set_threshold(max(first, _NEW_OBJECTS), *others)  # an application may say otherwise
        found = list(self._order.unsafe)
        if kit.preload != "fresh" and not found:
            before = OpenFiles.now()
            arbiter.app.wsgi()
            found = unsafe(before)
            if found and kit.preload == "auto":
                self._start_anew(found)
        fresh = kit.preload == "fresh" or (bool(found) and kit.preload == "auto")
        gc.collect()
        gc.freeze()  # the workers' collections then leave the shared pages alone
        seconds = time.monotonic() - started
        return {"preload": "fresh" if fresh else "mold", "unsafe": found, "seconds": seconds}

    def _start_anew(self, found: list[str]) -> NoReturn:
        """Becomes a mold that has not loaded the application; its threads and sockets end here."""
        order = replace(self._order, unsafe=tuple(found))
        for fd in order.descriptors:
            os.set_inheritable(fd, True)
        os.chdir(self._directory)
        os.execve(  # noqa: S606 - ourselves
            sys.executable,
            command(Path(sys.executable), order, sys.argv[1:]),
            dict(self._environ),
        )

    def _serve(self, arbiter: MoldArbiter) -> None:
        while (received := protocol.receive(self._control)) is not None:
            message, descriptors = received
            if message.pop("type") == "reopen":
                arbiter.log.reopen_files()
            else:
                self._fork(arbiter, Assignment(**message), descriptors)

    def _fork(
        self, arbiter: MoldArbiter, assignment: Assignment, descriptors: Sequence[int]
    ) -> None:
        """Returns in the mold; a worker leaves by SystemExit, at its end."""
        middle = os.fork()
        if middle:
            for fd in descriptors:
                os.close(fd)
            os.waitpid(middle, 0)
            return
        middle = os.getpid()
        try:
            self._control.close()
            os.close(self._order.trace)
            report, *listeners = descriptors
            arbiter.fork(assignment, listeners, BootReport(report))
            os._exit(0)  # no atexit, no finalizers: those are the mold's and the worker's
        except Exception:
            arbiter.log.exception("Worker %d could not be forked", assignment.slot)
            if os.getpid() == middle:
                os._exit(1)
            raise

    def _say(self, kind: str, **facts: object) -> None:
        protocol.send(self._control, {"type": kind, **facts})

    def _receive(self) -> protocol.Message:
        received = protocol.receive(self._control)
        if received is None:
            sys.exit(0)  # the master is gone, or it does not want us any more
        return received[0]


def main() -> None:
    """Runs as `python -c BOOTSTRAP KIT ORDER ARGUMENTS…`."""
    environ = dict(os.environ)
    for number in _IGNORED:  # meant for the master
        signal.signal(number, signal.SIG_IGN)
    fields = json.loads(sys.argv[2])
    order = Order(**{**fields, "unsafe": tuple(fields["unsafe"])})
    sys.argv = ["gunicorn", *sys.argv[3:]]
    for fd in order.descriptors:
        os.set_inheritable(fd, False)
    faulthandler.register(signal.SIGQUIT, file=order.trace, all_threads=True)
    process_control.die_with_parent(order.master, signal.SIGKILL)
    allocator.keep_freed_memory()
    Mold(order, environ).run()


def _listener(fd: int, cfg: Any, log: Any) -> Any:
    with socket.socket(fileno=os.dup(fd)) as inherited:
        name = inherited.getsockname()
    return sock._sock_type(name)(name, cfg, log, fd=fd)  # noqa: SLF001 - as its create_sockets does


def _facts_of(error: Exception) -> protocol.Message:
    return {
        "reason": reason_of(error),
        "traceback": traceback_of(error),
        "exit_code": exit_code_of(error),
    }


def _plain_values(cfg: Any) -> dict[str, object]:
    """The settings that are data; hooks and classes belong to the process that read them."""
    return {name: value for name, s in cfg.settings.items() if _is_plain(value := s.get())}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def _config_file(cfg: Any, directory: Path) -> str | None:
    """Where Gunicorn found it: it looks before it changes the directory."""
    path = directory / str(cfg.config or "").removeprefix("file:")
    return str(path.resolve()) if path.is_file() else None
