"""The connections of one worker: from accept to close, and how long each is waited for.

epoll's calls are safe from any thread. A connection belongs to the leader, and while it is busy to
the thread that answers; `finish` and `linger` give it back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from typing import Any

from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.origin import Origin
from deploy.cluster.adaptive.turn import Turn

_EVENTS_MOST = 64
_SWEEP_SECONDS, _DRAIN_SWEEP_SECONDS = 0.5, 0.05
# As Gunicorn's gthread worker has them (DEFAULT_WORKER_DATA_TIMEOUT, STOP_KEEPALIVE_LINGER,
# util.close_graceful).
_FIRST_BYTES_SECONDS, _STOP_KEEPALIVE_SECONDS = 5.0, 2.0
_LINGER_SECONDS, _LINGER_MOST = 2.0, 64 * 1024
_PATIENCE_SECONDS = 30.0  # where REQUEST_TIMEOUT is off
_FULL_SECONDS = 0.05
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Clients:
    """Listeners and connections, and the epoll that watches them."""

    def __init__(self, cfg: Any, log: Any, turn: Turn, *, most: int):
        self.origin = Origin(cfg)
        self._log = log
        self._most = most
        self._keepalive = cfg.keepalive
        # Seconds that a client has to send a request, or to take an answer.
        self.patience = cfg.timeout or _PATIENCE_SECONDS
        self._turn = turn
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._listeners: dict[int, Any] = {}
        self._connections: dict[int, Connection] = {}
        self._lingering: set[Connection] = set()
        self.find = self._connections.get  # by descriptor
        self._sweep_at = 0.0
        self._draining_since = 0.0

    def __len__(self) -> int:
        return len(self._connections)

    # --- from any thread

    def listen(self, listener: Any) -> None:
        """Accepts there from now on."""
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        self._turn.accepted(self._open, time.monotonic())
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def ignore(self, listener: Any) -> None:
        """Does not accept there any more."""
        self._epoll.unregister(listener.fileno())
        del self._listeners[listener.fileno()]

    def accept(self, listener: Any) -> None:
        """One connection; raises BlockingIOError when another worker was faster."""
        sock, peer = listener.accept()
        connection = Connection(sock, peer, listener.getsockname())
        self.origin.describe(connection)
        now = time.monotonic()
        connection.wait(now, self._keepalive + _FIRST_BYTES_SECONDS)
        self._connections[connection.fd] = connection
        self._turn.accepted(self._open, now)
        self._watch(connection)

    def drain(self) -> None:
        """Connections without a request close soon."""
        self._draining_since = time.monotonic()
        self.wake()

    def wake(self) -> None:
        """Whoever polls looks around."""
        os.eventfd_write(self._wake, 1)

    # --- by the leader

    def poll(self, *, pause: bool) -> list[tuple[int, int]]:
        """What has happened at which descriptor; with a pause it waits a while for something."""
        return self._epoll.poll(self._sweep_seconds if pause else 0, _EVENTS_MOST)

    def attend(self, fd: int, *, pending: bool) -> None:
        """Something has come that is no connection's, and whether something else is `pending`."""
        listener = self._listeners.get(fd)
        if listener is not None:
            self._accept_some(listener, fd, pending=pending)
        elif fd == self._wake:
            os.eventfd_read(fd)

    def await_request(self, connection: Connection, data: bytes) -> None:
        """Keeps what has come of a request; from its first bytes on it has so long to be whole."""
        if not connection.buffer:
            connection.wait(time.monotonic(), self.patience)
        connection.buffer = data

    def rest(self, connection: Connection) -> None:
        """Something came in, or the client left, while its request is answered: not now."""
        connection.watched = False
        with contextlib.suppress(OSError):
            self._epoll.unregister(connection.fd)
        if not connection.busy:  # done in this moment, by a thread that saw it watched
            self._watch(connection)

    def release(self, connection: Connection) -> None:
        """Forgets it in epoll: somebody may take it over."""
        if connection.watched:
            connection.watched = False
            self._epoll.unregister(connection.fd)

    def read_the_end(self, connection: Connection, data: bytes) -> None:
        """Of one that lingers: what still comes in is of no interest."""
        connection.needed += len(data)
        if not data or connection.needed > _LINGER_MOST:
            self.close(connection)

    def sweep(self) -> None:
        """Closes, now and then, what has been waited for long enough."""
        now = time.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + self._sweep_seconds
        for connection in list(self._connections.values()):
            if not connection.busy and now >= self._deadline(connection):
                self._expire(connection, now)

    # --- by the leader, or by the thread that has answered

    def keep(self, connection: Connection, now: float) -> None:
        """The request is answered: the next one may come."""
        connection.fresh = False
        connection.wait(now, self._keepalive)
        connection.busy = False
        if not connection.watched:
            self._watch(connection)

    def linger(self, connection: Connection, now: float) -> None:
        """Closes so that the client gets the answer whole (RFC 9112, 9.6)."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(connection)
            return
        connection.lingering = True
        self._lingering.add(connection)
        self._turn.left_with(self._open)
        connection.buffer = b""
        connection.needed = 0
        connection.wait(now, _LINGER_SECONDS)
        connection.busy = False
        if not connection.watched:
            self._watch(connection)

    def close(self, connection: Connection) -> None:
        """At once."""
        # Its number may be another connection's by now, if somebody has closed the socket.
        if self._connections.get(connection.fd) is connection:
            del self._connections[connection.fd]
            self._lingering.discard(connection)
            self._turn.left_with(self._open)
            if connection.watched:  # a copy of the descriptor would keep it in epoll
                with contextlib.suppress(OSError, ValueError):
                    self._epoll.unregister(connection.fd)
        connection.buffer = b""
        with contextlib.suppress(OSError):
            connection.sock.close()

    # ---

    @property
    def _open(self) -> int:
        """How many connections may have a request yet.

        An application that closes a socket of ours may have left one among those that linger.
        """
        return max(0, len(self._connections) - len(self._lingering))

    @property
    def _sweep_seconds(self) -> float:
        return _DRAIN_SWEEP_SECONDS if self._draining_since else _SWEEP_SECONDS

    def _watch(self, connection: Connection) -> None:
        connection.watched = True
        with contextlib.suppress(FileExistsError):
            self._epoll.register(connection.fd, select.EPOLLIN)

    def _accept_some(self, listener: Any, fd: int, *, pending: bool) -> None:
        """As many as are this worker's to take."""
        try:
            for _ in range(self._turn.comes(self._open, time.monotonic(), pending=pending)):
                self.accept(listener)
                if len(self._connections) > self._most:
                    self._evict()  # which looks at all: one in a turn is enough
                    return
        except (OSError, AttributeError) as error:
            if fd not in self._listeners:  # closed meanwhile, as the worker leaves
                return
            number = getattr(error, "errno", None)
            if number in (errno.EMFILE, errno.ENFILE):
                self._log.error("No file descriptor is left for a connection: %s", error)
                if not self._evict():
                    time.sleep(_FULL_SECONDS)
            elif number not in (errno.EAGAIN, errno.ECONNABORTED):
                raise

    def _evict(self) -> bool:
        """Closes the connection that has been waited for longest; False when there is none."""
        idle = [each for each in list(self._connections.values()) if not each.busy]
        if idle:
            self.close(min(idle, key=lambda each: each.since))
        return bool(idle)

    def _deadline(self, connection: Connection) -> float:
        if not self._draining_since or connection.buffer or connection.lingering:
            return connection.deadline
        wait = _FIRST_BYTES_SECONDS if connection.fresh else _STOP_KEEPALIVE_SECONDS
        return min(connection.deadline, self._draining_since + wait)

    def _expire(self, connection: Connection, now: float) -> None:
        if connection.lingering:
            self.close(connection)
        elif _has_come(connection):
            return  # it is us who are late
        elif connection.buffer:
            with contextlib.suppress(OSError):
                connection.sock.send(_TOO_LATE, socket.MSG_DONTWAIT)
            self.linger(connection, now)
        else:
            self.close(connection)


def _has_come(connection: Connection) -> bool:
    """Whether there is something to read that nobody has read."""
    poll = select.poll()
    poll.register(connection.fd, select.POLLIN)
    return bool(poll.poll(0))
