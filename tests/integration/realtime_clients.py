"""Real WebSocket clients of a real cluster."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.cluster import Cluster
from tests.wait import wait_until

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}
SECONDS = 20.0


def serving(directory: Path, database_url: str, **env: str) -> Cluster:
    """A cluster of our own application."""
    return Cluster(directory, "--chdir", str(Path.cwd()), env={"DATABASE_URL": database_url, **env})


def join(port: int, *, headers: Mapping[str, str] | None = None) -> ClientConnection:
    """One client, for a `with` statement, of whichever worker takes it."""
    return connect(
        f"ws://127.0.0.1:{port}/ws",
        additional_headers=headers or {},
        proxy=None,
        open_timeout=SECONDS,
        max_queue=None,  # it reads whether or not its test looks
    )


def worker_of(client: ClientConnection) -> str:
    """Who answered the handshake."""
    assert client.response is not None
    return client.response.headers["X-Worker-ID"]


@contextlib.contextmanager
def one_on_each(port: int, workers: int = 3) -> Iterator[dict[str, ClientConnection]]:
    """A client on each worker, by the worker's name."""
    with contextlib.ExitStack() as closing:
        found: dict[str, ClientConnection] = {}

        def on_each() -> bool:
            client = closing.enter_context(join(port))
            found.setdefault(worker_of(client), client)
            return len(found) == workers

        wait_until(on_each, what=f"clients on {workers} workers", seconds=60)
        yield found


def close_code(client: ClientConnection) -> int:
    """The code with which the server closes; messages before it are read and forgotten."""
    try:
        while True:
            client.recv(timeout=SECONDS)
    except ConnectionClosed as closed:
        return 1006 if closed.rcvd is None else closed.rcvd.code


def status_of(port: int, **headers: str) -> int:
    """The status of a handshake: 101 when it is accepted."""
    try:
        with join(port, headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def raw(port: int, *, headers: Mapping[str, str] = HANDSHAKE) -> socket.socket:
    """A connection after its handshake, without a library that would answer for it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    lines = [f"{name}: {value}\r\n" for name, value in {"Host": "h", **headers}.items()]
    connection.sendall(f"GET /ws HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return connection
