"""Gunicorn's hooks: thin, and they never raise, as an exception in the master stops the server.

`gunicorn.conf.py` installs them. What they do is the arbiter's, the scoreboard's or the log's.
"""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec

from setproctitle import setproctitle

from deploy.cluster import arbiter, listen
from deploy.cluster.embedded import EmbeddedDatabase
from deploy.cluster.settings import OWN_APPLICATION, SettingsError

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.http.message import Request
    from gunicorn.http.wsgi import Response

    from deploy.cluster.arbiter import SlotArbiter, SlotWorker
    from deploy.cluster.settings import Settings

_P = ParamSpec("_P")
_PREPARE_SECONDS = 300  # a long migration is cut short by nothing but this
# Kept in this module, which a reload does not read anew, unlike gunicorn.conf.py.
_database = EmbeddedDatabase()


def never_raises(hook: Callable[_P, None]) -> Callable[_P, None]:
    """The hook, with any error of its own logged instead of raised."""

    @functools.wraps(hook)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except Exception:
            log = getattr(args[0], "log", None)
            if log is not None:
                log.exception("The hook %s failed", hook.__name__)

    return guarded


# --- in the master


def on_starting(server: Arbiter, settings: Settings, *, prepare: Sequence[str]) -> None:
    """Everything that comes before the first fork; a refused start is one line and an exit code.

    `prepare` is a command of our own application's: it brings the database's schema up to date.
    """
    try:
        _refuse_taken_addresses(server)
        cluster = arbiter.install(server, settings)
        # What is served may differ from WSGI_APP: Gunicorn's positional argument wins.
        if server.app.app_uri == OWN_APPLICATION and settings.app_env != "production":
            _bring_up_database(cluster, settings, prepare)
        cluster.check_limits()
    except (SettingsError, KeyboardInterrupt) as error:
        if isinstance(error, SettingsError):
            server.log.error("[Master] %s", error, extra={"event": "master.refused"})
        _database.stop()
        if isinstance(server, arbiter.SlotArbiter):
            server.board.remove()
        if server.pidfile is not None:
            server.pidfile.unlink()
        sys.exit(getattr(error, "exit_code", 130))


def _refuse_taken_addresses(server: Arbiter) -> None:
    """Names the process in the way, unless our listeners are inherited (USR2, systemd)."""
    if "GUNICORN_FD" in os.environ or os.environ.get("LISTEN_PID") == str(os.getpid()):
        return
    listen.wait_until_free(
        server.cfg.address, on_wait=lambda taken: server.log.info("[Master] %s", taken)
    )


def _bring_up_database(server: SlotArbiter, settings: Settings, prepare: Sequence[str]) -> None:
    """A start goes on without a database: the application's readiness says that it is away."""
    if settings.embedded_database:
        server.log.info("[Master] DATABASE_URL is not set: starting the embedded Postgres")
        url = _database.start()
        if url is None:
            server.log.error("[Master] No database: going on without; see the message above")
            return
        os.environ["DATABASE_URL"] = url
    elif "DATABASE_URL" not in os.environ:
        return
    try:
        done = subprocess.run(  # noqa: S603 - our own application's command
            prepare, capture_output=True, text=True, timeout=_PREPARE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        server.log.error("[Master] %s", error)
        return
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode == SettingsError.exit_code and lines:
        raise SettingsError(lines[-1].removeprefix("Error: "))
    level = logging.INFO if done.returncode == 0 else logging.ERROR
    for line in lines:
        server.log.log(level, "[Master] %s", line, extra={"event": "master.prepare"})


@never_raises
def nworkers_changed(server: SlotArbiter, new: int, old: int | None) -> None:
    """TTIN, TTOU or a reload; Gunicorn also calls it for the first number, before on_starting."""
    if old is not None and new != old:
        server.resized(old)


@never_raises
def on_reload(server: SlotArbiter, settings: Settings) -> None:
    """After HUP has read the configuration anew."""
    server.reloaded(settings)


@never_raises
def when_ready(server: SlotArbiter) -> None:
    """The master listens; the workers are forked next."""
    server.log.info(
        "[Master] Starting %d worker(s)", server.num_workers, extra={"event": "master.listening"}
    )


@never_raises
def pre_fork(server: SlotArbiter, worker: SlotWorker) -> None:
    """A worker is about to be forked."""
    server.seat_worker(worker)


@never_raises
def child_exit(server: SlotArbiter, worker: SlotWorker) -> None:
    """A worker was reaped; unlike worker_exit it is also called for one that was killed."""
    server.board.vacate(worker.seat)


@never_raises
def on_exit(server: SlotArbiter) -> None:
    """The last thing a master does."""
    server.board.remove()
    _database.stop()
    server.log.info("[Master] Stopped", extra={"event": "master.stopped"})


# --- in the worker


@never_raises
def post_fork(server: SlotArbiter, worker: SlotWorker) -> None:
    """The worker's first act: it takes its seat and tells the application who it is."""
    worker.seat.occupy(os.getpid())
    os.environ |= {
        "WORKER_ID": worker.seat.name,
        "WORKER_SLOT": str(worker.slot),
        "CLUSTER_WORKERS": str(server.num_workers),
    }
    title = f"{worker.seat.name} gen {worker.generation} release {server.settings.release}"
    setproctitle(f"gunicorn: {title}")
    worker.log.info(
        "[%s] Started (pid %d)", worker.seat.name, os.getpid(), extra={"event": "worker.started"}
    )


@never_raises
def post_worker_init(worker: SlotWorker) -> None:
    """The application is loaded; the worker accepts next."""
    worker.seat.ready()


def pre_request(worker: SlotWorker, req: Request) -> None:  # noqa: ARG001 - Gunicorn's signature
    """On the path of every request: two stores in shared memory, nothing that can fail."""
    worker.seat.begin_request()


def post_request(
    worker: SlotWorker,
    req: Request,  # noqa: ARG001
    environ: dict[str, object],  # noqa: ARG001
    resp: Response,  # noqa: ARG001
) -> None:
    """After every request, also one that failed."""
    worker.seat.end_request()


@never_raises
def worker_int(worker: SlotWorker) -> None:
    """INT or QUIT: the worker stops at once. Ctrl-C brings both, its own and the master's."""
    if worker.leaving:
        return
    worker.leaving = True
    worker.log.info("[%s] Stopping at once", worker.seat.name, extra={"event": "worker.int"})


@never_raises
def worker_abort(worker: SlotWorker) -> None:
    """ABRT: the master found its heart standing still; says where every thread is."""
    stacks = "\n".join(
        f"Thread {number}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()  # noqa: SLF001 - the documented way
    )
    worker.log.error(
        "[%s] Aborted\n%s", worker.seat.name, stacks, extra={"event": "worker.aborted"}
    )


@never_raises
def worker_exit(server: SlotArbiter, worker: SlotWorker) -> None:
    """The worker's last act; a worker that is killed has none."""
    if os.getpid() == server.pid:  # Gunicorn's arbiter calls it for a worker that has vanished
        server.board.vacate(worker.seat)
        return
    worker.seat.drain()
    worker.log.info(
        "[%s] Exiting (pid %d)", worker.seat.name, os.getpid(), extra={"event": "worker.exiting"}
    )
