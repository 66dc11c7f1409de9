"""`metrics`: how the consumers stand, for Prometheus."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path

import click
import psycopg

from app.command_line import CONTEXT, Failed, Misconfigured
from app.consumers.commands import reach
from app.consumers.commands.status import observe
from app.db import reason
from app.events.standing import Observer, Report

_PATIENCE = 3.0  # seconds; Prometheus waits 10 s for all of it
_LOOPBACK = "127.0.0.1"


@click.command("metrics", context_settings=CONTEXT)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Serve GET /metrics there until TERM; :PORT is on loopback.",
)
@click.option(
    "--unix", "path", metavar="PATH", help="Serve it on a Unix socket, for its owner and group."
)
def command(listen: str | None, path: str | None) -> None:
    """Print metrics in Prometheus' text format once, or serve them.

    Once is for node_exporter's textfile collector. While the database is away, smart_factory_up is
    0 and all else is absent.
    """
    if listen is not None and path is not None:
        raise click.UsageError("--listen and --unix: one of them is expected")
    address = Path(path) if path is not None else None if listen is None else read_address(listen)
    source = _Source(observe(reach.config(), patience=_PATIENCE))
    if address is None:
        click.echo(source.page(), nl=False)
    else:
        _serve(address, source)
    source.observer.close()


def read_address(text: str) -> tuple[str, int]:
    """Host and port; raises Misconfigured."""
    match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):)([0-9]{1,5})", text, re.ASCII)
    if match is None or int(match[2]) > 65535:
        raise Misconfigured(f"--listen {text!r}: expected HOST:PORT, or :PORT on loopback")
    return match[1].strip("[]") or _LOOPBACK, int(match[2])


class _Source:
    """The page; says once an outage that the database is away."""

    def __init__(self, observer: Observer):
        self.observer = observer
        self._away = ""

    def page(self) -> bytes:
        # Only where it is used: its library takes 35 ms to load.
        from app.events.metrics import exposition

        return exposition(self._read)

    def _read(self) -> Report | None:
        try:
            report = self.observer.read()
        except psycopg.Error as error:
            if self._away != reason(error):
                self._away = reason(error)
                click.echo(f"Postgres is away: {self._away}", err=True)
            return None
        self._away = ""
        return report


def _serve(address: tuple[str, int] | Path, source: _Source) -> None:
    from app.consumers.commands.scrapes import AddressTaken, ScrapeServer
    from app.events.metrics import CONTENT_TYPE

    # Blocked before any thread begins, so that it is the main thread that takes them.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        server = ScrapeServer(address, page=source.page, content_type=CONTENT_TYPE)
    except AddressTaken as error:
        where = address if isinstance(address, Path) else ":".join(map(str, address))
        raise Failed(f"cannot listen at {where}: {error}") from None
    with server:
        threading.Thread(target=server.serve_forever, name="scrapes", daemon=True).start()
        click.echo(f"serving {server.url}")
        signal.sigwait(ending)
        server.shutdown()
