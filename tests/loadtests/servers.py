"""Small servers that answer, or misbehave, connection by connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._reader = sock.makefile("rb")

    def read_request(self) -> bool:
        """Reads one request without a body; False when the client has closed instead."""
        line = None
        while line != b"\r\n":
            line = self._reader.readline()
            if not line:
                return False
        return True

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def reset(self) -> None:
        """Closes with RST in place of FIN."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._reader.close()
        self._sock.close()


Serve = Callable[[Peer], None]


@contextmanager
def serving(serve: Serve, *, path: Path | None = None) -> Iterator[str]:
    """A server in threads, one a connection, at a free port or a Unix socket; yields its target.

    A connection is closed when `serve` returns.
    """
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen(128)
    threads: list[threading.Thread] = []

    def one(sock: socket.socket) -> None:
        peer = Peer(sock)
        with contextlib.suppress(OSError):  # the client has gone
            serve(peer)
        peer.close()

    def accept() -> None:
        with contextlib.suppress(OSError):  # the end: `listener.shutdown`
            while True:
                sock, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(sock,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"unix:{path}" if path else f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (acceptor, *threads):
            thread.join(10)


def always(answer: bytes) -> Serve:
    """Answers every request of a connection alike, until the client closes."""

    def serve(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer)

    return serve


def once(answer: bytes) -> Serve:
    """Answers the first request of a connection and closes without having said so."""

    def serve(peer: Peer) -> None:
        if peer.read_request():
            peer.send(answer)

    return serve
