"""Gunicorn's hooks: thin, and they never raise, as an exception in the master stops the server.

`gunicorn.conf.py` installs them. What they do is the arbiter's, the scoreboard's or the log's.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec

import gunicorn
from setproctitle import setproctitle

from deploy.cluster import arbiter, drain, listen, process_control, promises, stacks
from deploy.cluster.embedded import EmbeddedDatabase
from deploy.cluster.settings import OWN_APPLICATION, SettingsError

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.http.message import Request
    from gunicorn.http.wsgi import Response

    from deploy.cluster.arbiter import RollingArbiter
    from deploy.cluster.mold import MoldArbiter
    from deploy.cluster.settings import Settings
    from deploy.cluster.worker import SeatedWorker

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


def on_starting(
    server: Arbiter, settings: Settings, *, directory: str, prepare: Sequence[str]
) -> None:
    """Everything that comes before the first fork; a refused start is one line and an exit code.

    `directory` is where the command line was typed. `prepare` is a command of our own
    application's: it brings the database's schema up to date.
    """
    # Gunicorn's handlers come after this hook: until then a HUP would end the process.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, server.signal)
    lacking = promises.missing()
    if lacking or not process_control.become_subreaper():
        _run_as_stock(server, lacking)
        return
    try:
        promises.refuse(server.cfg)
        _refuse_taken_addresses(server)
        cluster = arbiter.install(server, settings, directory)
        # What is served may differ from WSGI_APP: Gunicorn's positional argument wins.
        if server.app.app_uri == OWN_APPLICATION and settings.app_env != "production":
            _bring_up_database(cluster, settings, prepare)
        cluster.check_limits()
    except (SettingsError, KeyboardInterrupt) as error:
        if isinstance(error, SettingsError):
            server.log.error("[Master] %s", error, extra={"event": "master.refused"})
        _database.stop()
        if isinstance(server, arbiter.RollingArbiter):
            server.board.remove()
        if server.pidfile is not None:
            server.pidfile.unlink()
        sys.exit(getattr(error, "exit_code", 130))


def _run_as_stock(server: Arbiter, lacking: list[str]) -> None:
    """Plain Gunicorn serves, without the kit's promises: better than nothing, and said loudly."""
    why = f"lacks {', '.join(lacking)}" if lacking else "runs on a kernel without child subreapers"
    server.log.critical(
        "[Master] This Gunicorn (%s) %s: RUNNING AS STOCK GUNICORN, without slots, mold, rolling "
        "reload and status. Install the version in requirements.txt",
        *(gunicorn.__version__, why),
        extra={"event": "master.stock"},
    )
    for setting in server.cfg.settings.values():
        if callable(setting.get()) and setting.section == "Server Hooks":
            setting.value = setting.default


def _refuse_taken_addresses(server: Arbiter) -> None:
    """Names the process in the way, unless our listeners are inherited (USR2, systemd)."""
    if "GUNICORN_FD" in os.environ or os.environ.get("LISTEN_PID") == str(os.getpid()):
        return
    listen.wait_until_free(
        server.cfg.address, on_wait=lambda taken: server.log.info("[Master] %s", taken)
    )


def _bring_up_database(server: RollingArbiter, settings: Settings, prepare: Sequence[str]) -> None:
    """A start goes on without a database: the application's readiness says that it is away."""
    if settings.embedded_database:
        server.log.info("[Master] DATABASE_URL is not set: starting the embedded Postgres")
        url = _database.start()
        if url is None:
            server.log.error("[Master] No database: going on without; see the message above")
            return
        os.environ["DATABASE_URL"] = server.environ["DATABASE_URL"] = url
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
def nworkers_changed(server: RollingArbiter, new: int, old: int | None) -> None:
    """TTIN, TTOU or a reload; Gunicorn also calls it for the first number, before on_starting."""
    if old is not None and new != old:
        server.resized(old)


@never_raises
def when_ready(server: RollingArbiter) -> None:
    """The master listens; the workers are forked next."""
    server.listening()
    server.log.info(
        "[Master] Starting %d worker(s)", server.num_workers, extra={"event": "master.listening"}
    )


@never_raises
def on_exit(server: RollingArbiter) -> None:
    """The last thing a master does."""
    server.board.remove()
    server.companion.stop()
    _database.stop()
    server.log.info("[Master] Stopped", extra={"event": "master.stopped"})


# --- in the worker


@never_raises
def post_fork(server: MoldArbiter, worker: SeatedWorker) -> None:
    """The worker's first act: it tells the application who it is."""
    os.environ |= {
        "WORKER_ID": worker.seat.name,
        "WORKER_SLOT": str(worker.slot),
        "CLUSTER_WORKERS": str(server.num_workers),
        drain.VARIABLE: str(worker.drain_notice.open()),
    }
    release = worker.cfg.env.get("RELEASE")
    setproctitle(f"gunicorn: {worker.seat.name} gen {worker.generation} release {release}")
    worker.log.info(
        "[%s] Started (pid %d)", worker.seat.name, os.getpid(), extra={"event": "worker.started"}
    )


def pre_request(worker: SeatedWorker, req: Request) -> None:  # noqa: ARG001 - Gunicorn's signature
    """On the path of every request: two stores in shared memory, nothing that can fail."""
    worker.seat.begin_request()


def post_request(
    worker: SeatedWorker,
    req: Request,  # noqa: ARG001
    environ: dict[str, object],  # noqa: ARG001
    resp: Response,  # noqa: ARG001
) -> None:
    """After every request, also one that failed."""
    worker.seat.end_request()


@never_raises
def worker_int(worker: SeatedWorker) -> None:
    """INT or QUIT: the worker stops at once. Ctrl-C brings both, its own and the master's."""
    if worker.leaving:
        return
    worker.leaving = True
    worker.log.info("[%s] Stopping at once", worker.seat.name, extra={"event": "worker.int"})


@never_raises
def worker_abort(worker: SeatedWorker) -> None:
    """ABRT: the master found its heart standing still; says where every thread is."""
    worker.log.error(
        "[%s] Aborted\n%s",
        *(worker.seat.name, stacks.of_all_threads()),
        extra={"event": "worker.aborted"},
    )


@never_raises
def worker_exit(server: MoldArbiter, worker: SeatedWorker) -> None:  # noqa: ARG001
    """The worker's last act; a worker that is killed has none."""
    worker.seat.drain()
    worker.log.info(
        "[%s] Exiting (pid %d)", worker.seat.name, os.getpid(), extra={"event": "worker.exiting"}
    )
