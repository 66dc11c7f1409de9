"""A stand-in for the admin service, for development and tests: it keeps all in memory.

`python -m app.consumers.admin_stub`

- POST /api/allocations {"purchase_id", "student_id", "course_id"} with an Idempotency-Key: 201 and
  an allocation; the same key again: 200 and the same allocation, or 409 for another body
- GET /api/allocations: {"allocations": […], "requests": how many were posted}
- GET /health
- POST /faults, for tests: the next `times` posts (of `student_id`, when it is given) are answered
  with `status`, and nothing is allocated; or after `delay_s` seconds, when the allocation was made
- DELETE /faults: no more of them
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import click

from app.command_line import CONTEXT, Failed, Misconfigured
from app.consumers.admin_stub_state import Fault, Json, State, read_fault, refusal

_BODY_MOST = 64 * 1024  # bytes


class AdminStub:
    """The stand-in as a server in this process; `with` starts it and stops it.

    Port 0 is a free one. Raises OSError when it cannot listen.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, latency_ms: float = 0):
        self._state = State()
        self._server = _Server((host, port), self._state, latency_ms / 1000)
        self.url = f"http://{host}:{self._server.server_port}"

    @property
    def allocations(self) -> list[Json]:
        """Those made, in their order: what was asked, what was answered, and the two headers."""
        return self._state.look()[0]

    @property
    def requests(self) -> int:
        """How many allocations were asked for, faults and repetitions included."""
        return self._state.look()[1]

    def fault(self, fault: Fault) -> None:
        """As POST /faults."""
        self._state.add_fault(fault)

    def mend(self) -> None:
        """As DELETE /faults."""
        self._state.clear_faults()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # server_close waits for them

    def __init__(self, address: tuple[str, int], state: State, latency: float):
        self.state = state
        self.latency = latency  # seconds
        self.ending = threading.Event()
        self._clients: set[socket.socket] = set()
        super().__init__(address, _Request)

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = super().get_request()
        self._clients.add(client)
        return client, address

    def close_request(self, request: Any) -> None:
        self._clients.discard(request)
        super().close_request(request)

    def server_close(self) -> None:
        """Ends the connections that are kept, too."""
        self.ending.set()
        for client in list(self._clients):
            _end(client)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is nothing to report."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Request(BaseHTTPRequestHandler):
    """One connection, which is kept for further requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits up to 40 ms for the client's ACK
    wbufsize = -1  # head and body in one packet
    server: _Server
    server_version = "admin-service-stand-in"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {"status": "ok", "message": "a stand-in for the admin service"})
        elif self.path == "/api/allocations":
            allocations, requests = self.server.state.look()
            self._answer(200, {"allocations": allocations, "requests": requests})
        else:
            self._answer(404, refusal("there is nothing here"))

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        if self.path == "/api/allocations":
            status, answer, delay = self.server.state.allocate(
                body,
                key=self.headers.get("Idempotency-Key"),
                correlation_id=self.headers.get("X-Correlation-ID"),
            )
            self.server.ending.wait(self.server.latency + delay)
            self._answer(status, answer)
        elif self.path == "/faults":
            fault = read_fault(body)
            if isinstance(fault, str):
                self._answer(400, refusal(fault))
            else:
                self.server.state.add_fault(fault)
                self._answer(201, body)
        else:
            self._answer(404, refusal("there is nothing here"))

    def do_DELETE(self) -> None:
        if self.path == "/faults":
            self.server.state.clear_faults()
            self._answer(200, {})
        else:
            self._answer(404, refusal("there is nothing here"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base's
        """No line a request."""

    def _body(self) -> Json | None:
        """The JSON object that was sent; None when that is answered already."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > _BODY_MOST:
            self.close_connection = True  # where the next request begins is not known
            self._answer(400, refusal(f"Content-Length: must be from 0 to {_BODY_MOST}"))
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            self._answer(400, refusal("body: must be a JSON object"))
            return None
        return body

    def _answer(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)


def _end(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


@click.command(context_settings=CONTEXT)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=3900, show_default=True, help="0: a free one."
)
@click.option(
    "--latency-ms",
    type=click.FloatRange(0, 60_000),
    default=0,
    show_default=True,
    help="Of each allocation.",
)
def main(host: str, port: int, latency_ms: float) -> None:
    """A stand-in for the admin service, for development and tests.

    It keeps all in memory, and ends with 0 on TERM or Ctrl-C. With APP_ENV=production it refuses to
    start.
    """
    if os.environ.get("APP_ENV", "").strip() == "production":
        raise Misconfigured(
            "APP_ENV='production': this is a stand-in for the admin service, "
            "for development and tests"
        )
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        stub = AdminStub(host=host, port=port, latency_ms=latency_ms)
    except OSError as error:
        raise Failed(f"cannot listen on {host}:{port}: {error.strerror}") from None
    with stub:
        click.echo(f"admin service stand-in on {stub.url}")
        sys.stdout.flush()
        signal.sigwait(ending)


if __name__ == "__main__":
    main(prog_name="python -m app.consumers.admin_stub")
