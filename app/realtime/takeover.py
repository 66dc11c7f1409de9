"""Taking a connection over from Gunicorn, which goes on with a stand-in.

Gunicorn would hold a thread for as long as the connection lasts, and count it as one request. So
its socket object gets another descriptor under the same number, one end of a socket pair: it
writes the rest of its answer there, meets the end of the stream, and closes, as it always does.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TypeGuard

_ANSWER_MOST = 64 * 1024  # bytes; what Gunicorn writes is a few headers


def possible(server_socket: object) -> TypeGuard[socket.socket]:
    """Whether it is a socket of the standard library, and nothing that stands for one.

    TLS ends in the process; gevent's sockets belong to its own loop, and under it threads are none.
    """
    kind = type(server_socket)
    return (kind.__module__, kind.__qualname__) == ("socket", "socket")


class StandIn:
    """The far end of what the server holds now; `finish` when it has written its answer."""

    def __init__(self, far: socket.socket):
        self._far = far
        far.shutdown(socket.SHUT_WR)  # the server reads: the client has nothing more to say

    def finish(self) -> None:
        """Closes it; unread bytes would reset the server's end, which would say so in its log."""
        self._far.setblocking(False)
        with contextlib.suppress(OSError):
            self._far.recv(_ANSWER_MOST)
        self._far.close()


def take(server_socket: socket.socket) -> tuple[socket.socket, StandIn]:
    """The client's connection, now the caller's, and what the server has in its place.

    Raises OSError, and then nothing has changed.
    """
    near, far = socket.socketpair()
    with near:
        try:
            taken = socket.socket(fileno=os.dup(server_socket.fileno()))
        except OSError:
            far.close()
            raise
        os.dup2(near.fileno(), server_socket.fileno(), inheritable=False)
    return taken, StandIn(far)
