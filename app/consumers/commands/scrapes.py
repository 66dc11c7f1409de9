"""A small HTTP server for what scrapes metrics: one page, on TCP or on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import stat
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

_PATH = "/metrics"
_MODE = 0o660  # of the Unix socket: its group may scrape
_PROBE_SECONDS = 1.0


class AddressTaken(Exception):  # noqa: N818 - a state of the world
    """It cannot be listened there; the message says why, in one line."""


class ScrapeServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers GET /metrics with what `page` makes, from its creation on once it serves.

    `address` is host and port, or a path. Raises AddressTaken.
    """

    allow_reuse_address = True
    daemon_threads = True  # a client that does not read keeps nobody from leaving
    request_queue_size = 32

    def __init__(
        self, address: tuple[str, int] | Path, *, page: Callable[[], bytes], content_type: str
    ):
        self.page = page
        self.content_type = content_type
        self._path = address if isinstance(address, Path) else None
        try:
            if isinstance(address, Path):
                self.address_family = socket.AF_UNIX
                _remove_stale(address)
                super().__init__(str(address), _Scrape)  # type: ignore[arg-type] # as the family has it
            else:
                found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
                self.address_family = found[0]
                super().__init__(found[4][:2], _Scrape)  # type: ignore[arg-type]
        except OSError as error:
            raise AddressTaken(error.strerror or str(error)) from None

    def server_bind(self) -> None:
        if self._path is None:
            super().server_bind()
            return
        before = os.umask(0o777 & ~_MODE)  # with its mode from the first moment
        try:
            super().server_bind()
        finally:
            os.umask(before)

    def server_close(self) -> None:
        super().server_close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        """Where it listens, with the port that it got."""
        if self._path is not None:
            return f"unix:{self._path}"
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{_PATH}"


class _Scrape(BaseHTTPRequestHandler):
    server: ScrapeServer
    server_version = "smart-factory"
    sys_version = ""
    timeout = 10  # seconds, for a request that does not come

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != _PATH:
            self.send_error(404)
            return
        page = self.server.page()
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked has left
            self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base
        """A scrape every few seconds is no news."""


def _remove_stale(path: Path) -> None:
    """Removes the socket of one that was killed; raises OSError when somebody listens there."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise AddressTaken("there is a file that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise AddressTaken("somebody listens there")
