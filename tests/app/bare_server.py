"""A server that answers each connection as a test says: also wrongly, late, or not at all."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Gets the connection and how many there were before; it is closed when this returns.
Behaviour = Callable[["Connection", int], None]


class Connection:
    """One client's."""

    def __init__(self, connection: socket.socket, server: BareServer):
        self._socket = connection
        self._server = server
        self._rest = b""

    def request(self) -> bytes:
        """The next request, head and body; raises EOFError when the client has none."""
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        length = 0
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(data) < end + 4 + length:
            data += self._more()
        self._rest = data[end + 4 + length :]
        request = data[: end + 4 + length]
        self._server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, body: bytes, *, status: str = "200 OK", head: str = "") -> None:
        """A whole answer, after which the connection is kept."""
        self.send(f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def trickle(self, data: bytes, *, times: int = 10_000) -> None:
        """Sends it again and again, slowly, until the client or the test is gone."""
        for _ in range(times):
            self.send(data)
            if self._server.ending.wait(0.05):
                return

    def hang(self) -> None:
        """Until the test is over."""
        self._server.ending.wait(100)

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        return data


class BareServer:
    """Serves on loopback while it is open."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None):
        self.requests: list[bytes] = []
        self.connections = 0
        self.ending = threading.Event()
        self._behaviour = behaviour
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(0.05)
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def run(self) -> None:
        while not self.ending.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client, self.connections))
                self.connections += 1
                self._open.append(client)
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        self.ending.set()
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def _serve(self, client: Any, number: int) -> None:
        with contextlib.suppress(OSError, EOFError):
            client.settimeout(60)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self._behaviour(Connection(client, self), number)
        client.close()


@contextmanager
def serving(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> Iterator[BareServer]:
    server = BareServer(behaviour, tls)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        thread.join(30)
        server.close()
