"""The command line of each Python server: what differs from its defaults says why; pure."""

from __future__ import annotations

from pathlib import Path

from bench.peers.server import APP

THREADS = 4  # of each process, where a server has threads


def gunicorn(python: str, port: int, processes: int, worker_class: str, threads: int) -> list[str]:
    """Stock Gunicorn with the values that our gunicorn.conf.py sets, and no hook."""
    return [
        *(python, "-m", "gunicorn", "-c", "/dev/null", "--bind", f"127.0.0.1:{port}"),
        *("--workers", str(processes), "--worker-class", worker_class),
        *("--threads", str(threads), "--keep-alive", "5"),
        *("--worker-tmp-dir", "/dev/shm"),  # noqa: S108 - as gunicorn.conf.py has it
        *("--no-control-socket", APP),
    ]


def granian(python: str, port: int, processes: int) -> list[str]:
    """With as many threads as the others: it answers the JSON no slower than by its default."""
    return [
        *(python, "-m", "granian", "--interface", "wsgi", "--http", "1"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(processes)),
        *("--blocking-threads", str(THREADS), "--no-access-log", APP),
    ]


def uwsgi(environment: Path, port: int, processes: int) -> list[str]:
    """Behind its own HTTP router, which keeps connections open without holding a thread for each.

    `--http11-socket` keeps them open as well, and each holds a thread: of 32 connections 28 would
    have no answer.
    """
    return [
        *(str(environment / "bin" / "uwsgi"), "--virtualenv", str(environment)),
        *("--http", f"127.0.0.1:{port}", "--http-keepalive=5"),
        *("--add-header", "Connection: Keep-Alive"),  # as its documentation asks
        *("--master", "--processes", str(processes)),
        *("--threads", str(THREADS), "--enable-threads", "--disable-logging"),
        *("--need-app", "--die-on-term", "--module", APP),
    ]


def waitress(python: str, port: int) -> list[str]:
    """One process: it has no other."""
    return [
        *(python, "-m", "waitress", "--listen", f"127.0.0.1:{port}"),
        *("--threads", str(THREADS), APP),
    ]
