"""Who is compared: each peer with its environment, how it is started and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import commands, environment, kit, pm2
from bench.peers.commands import THREADS
from bench.peers.server import Server, Stand, serving
from tests.cluster import free_port


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One of those compared."""

    name: str  # on the command line, and in the results
    title: str  # in the tables
    build: Callable[[], Path]  # its environment
    packages: tuple[str, ...]  # whose versions are reported
    version: Callable[[Path, str], str] = environment.python_version
    start: Callable[[Stand], AbstractContextManager[Server]]
    most_processes: int | None = None
    note: str  # one sentence in the report


def _gunicorn(worker_class: str, threads: int = 1) -> Callable[[Stand], _Serving]:
    def start(stand: Stand) -> _Serving:
        port = free_port()
        command = commands.gunicorn(
            stand.python, port, stand.processes, worker_class=worker_class, threads=threads
        )
        return serving(stand, port, command)

    return start


def _granian(stand: Stand) -> _Serving:
    port = free_port()
    return serving(stand, port, commands.granian(stand.python, port, stand.processes))


def _uwsgi(stand: Stand) -> _Serving:
    port = free_port()
    return serving(stand, port, commands.uwsgi(stand.environment, port, stand.processes))


def _waitress(stand: Stand) -> _Serving:
    port = free_port()
    return serving(stand, port, commands.waitress(stand.python, port))


_Serving = AbstractContextManager[Server]

BASE = "gthread"  # what the ratios are to
OURS = "ours"
SETTLED = "ours-cpu"
PEERS = (
    Peer(
        name=BASE,
        title="stock gthread",
        build=lambda: environment.python("gunicorn"),
        packages=("gunicorn",),
        start=_gunicorn("gthread", THREADS),
        note=f"Gunicorn without our configuration, {THREADS} threads a process.",
    ),
    Peer(
        name=OURS,
        title="ours",
        build=lambda: environment.python("gunicorn"),
        packages=("gunicorn",),
        start=kit.serving,
        note=f"the kit, WORKER_CLASS={kit.WORKER_CLASS}, THREADS={THREADS}; its mold counts too.",
    ),
    Peer(
        name=SETTLED,
        title="ours, settled",
        build=lambda: environment.python("gunicorn"),
        packages=("gunicorn",),
        start=lambda stand: kit.serving(stand, affinity="cpu"),
        note="the same with WORKER_AFFINITY=cpu: each worker on one CPU.",
    ),
    Peer(
        name="sync",
        title="stock sync",
        build=lambda: environment.python("gunicorn"),
        packages=("gunicorn",),
        start=_gunicorn("sync"),
        note="closes the connection after each answer: it has no keep-alive.",
    ),
    Peer(
        name="gevent",
        title="stock gevent",
        build=lambda: environment.python("gevent"),
        packages=("gunicorn", "gevent"),
        start=_gunicorn("gevent"),
        note="greenlets, as many as there are connections; five connections to Postgres.",
    ),
    Peer(
        name="granian",
        title="granian",
        build=lambda: environment.python("granian"),
        packages=("granian",),
        start=_granian,
        note=f"WSGI mode, {THREADS} blocking threads a process.",
    ),
    Peer(
        name="uwsgi",
        title="uWSGI",
        build=lambda: environment.python("uwsgi"),
        packages=("uWSGI",),
        start=_uwsgi,
        note=f"{THREADS} threads a process, behind its HTTP router, which is one process more; "
        "through the router's default buffer an answer of 64 KiB takes some 40 ms.",
    ),
    Peer(
        name="waitress",
        title="waitress",
        build=lambda: environment.python("waitress"),
        packages=("waitress",),
        start=_waitress,
        most_processes=1,
        note=f"{THREADS} threads; it knows one process only.",
    ),
    Peer(
        name="express",
        title="Express",
        build=environment.express,
        packages=("node", "express", "pm2", "express-session", "connect-pg-simple", "pg"),
        version=environment.node_version,
        start=pm2.serving,
        note="under PM2 in cluster mode, whose daemon is not counted; its /sleep is a timer, "
        "for which no thread waits: another thing than time.sleep. A read of a session writes "
        "too: connect-pg-simple touches it each time, by default.",
    ),
)
BY_NAME = {peer.name: peer for peer in PEERS}
