"""The loop of one worker: it accepts, reads without waiting, and has whole requests answered.

Whoever leads runs it. A connection whose request takes long stays with the thread that runs it,
while the next leader polls on; epoll's calls are safe from any thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections import deque
from typing import Any, Protocol

from deploy.cluster.adaptive.blocking import BlockingRoutes
from deploy.cluster.adaptive.body import Body
from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.head import Environ, HeadParser, Reading
from deploy.cluster.adaptive.incomplete import refusal
from deploy.cluster.adaptive.lead import LONG_SECONDS, Lead
from deploy.cluster.adaptive.origin import Origin, server_of

_EVENTS_MOST = 64
_RECEIVED_MOST = 64 * 1024
_HEAD_MOST = 64 * 1024  # unfinished; Gunicorn reads on from there, up to its own limits
_DIGITS_MOST = 18  # of a length; int() refuses thousands
# Kept while it comes in; of a larger one the application reads what it wants, and Gunicorn discards
# no more than this of the rest (parser.py, _DRAIN_MAX_BYTES).
_BODY_MOST = 64 * 1024 - 1
_SWEEP_SECONDS, _DRAIN_SWEEP_SECONDS = 0.5, 0.05
# As Gunicorn's gthread worker has them (DEFAULT_WORKER_DATA_TIMEOUT, STOP_KEEPALIVE_LINGER,
# util.close_graceful).
_FIRST_BYTES_SECONDS, _STOP_KEEPALIVE_SECONDS = 5.0, 2.0
_LINGER_SECONDS, _LINGER_MOST = 2.0, 64 * 1024
_READ_SECONDS = 30.0  # for a request to come in, where REQUEST_TIMEOUT is off
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_FULL_SECONDS = 0.05
_ACCEPTED_BY_A_SINGLE_WORKER = 8
# Another thread costs some 50 us: a request that waits longer than a few times that is worth it. Of
# how many requests one is looked at so closely:
_WAITED_SECONDS, _SAMPLED = 0.0005, 4


class Server(Protocol):
    """What has requests answered: the worker."""

    cfg: Any
    log: Any
    worker_connections: int

    def answer(self, connection: Connection, environ: Environ, data: bytes, now: float) -> bool:
        """Answers a usual request; whether the connection is kept."""

    def answer_as_gunicorn(self, connection: Connection, data: bytes) -> bool:
        """Has Gunicorn's own code read on from `data`; leaves in the buffer what is left over."""

    def refuse(self, connection: Connection, error: Exception) -> None:
        """Answers a request that is none."""

    def end(self, error: BaseException) -> None:
        """The worker cannot go on."""


class Loop:
    """Connections, and what is to be done for them."""

    def __init__(self, server: Server, *, reads: bool):
        cfg = server.cfg
        self._server = server
        self._reads = reads  # else Gunicorn does: TLS, the proxy protocol, HTTP/2
        self._origin = Origin(cfg)
        self._parser = HeadParser(cfg, script_name=self._origin.script_name)
        self._keepalive = cfg.keepalive
        self._read_seconds = cfg.timeout or _READ_SECONDS
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._listeners: dict[int, Any] = {}
        self._connections: dict[int, Connection] = {}
        self._ready: deque[Connection] = deque()  # with bytes of the next request in their buffers
        self._accepted_at_once = _ACCEPTED_BY_A_SINGLE_WORKER if cfg.workers == 1 else 1
        self._sweep_at = 0.0
        self._draining_since = 0.0
        self._stopping = False
        self._blocking = BlockingRoutes()
        self._answered = 0
        self.threads = Lead(self.lead, threads=cfg.threads)

    def __len__(self) -> int:
        return len(self._connections)

    # --- from any thread

    def listen(self, listener: Any) -> None:
        """Accepts there from now on."""
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def ignore(self, listener: Any) -> None:
        """Does not accept there any more."""
        self._epoll.unregister(listener.fileno())
        del self._listeners[listener.fileno()]

    def accept(self, listener: Any) -> None:
        """One connection; raises BlockingIOError when another worker was faster."""
        sock, peer = listener.accept()
        connection = Connection(sock, peer, listener.getsockname())
        self._origin.describe(connection)
        connection.wait(time.monotonic(), self._keepalive + _FIRST_BYTES_SECONDS)
        self._connections[connection.fd] = connection
        self._poll(connection)

    def drain(self) -> None:
        """Connections without a request close soon."""
        self._draining_since = time.monotonic()
        self.wake()

    def stop(self, *, seconds: float) -> None:
        """Ends the threads, waiting so long for those that are not in a request."""
        self._stopping = True
        self.wake()
        self.threads.stop(seconds=seconds)

    def wake(self) -> None:
        """Whoever polls looks around."""
        os.eventfd_write(self._wake, 1)

    # --- by the leader

    def lead(self) -> None:
        """Until the lead is taken, or the worker stops."""
        try:
            self._turn()
        except Exception as error:  # an error of ours: another worker is to serve
            self._server.end(error)

    def _turn(self) -> None:
        poll, find, ready = self._epoll.poll, self._connections.get, self._ready
        while not self._stopping:
            for fd, _ in poll(self._pause(), _EVENTS_MOST):
                connection = find(fd)
                if connection is not None:
                    if not self._read(connection):
                        return
                elif fd in self._listeners:
                    if self._accept(self._listeners[fd]):
                        break  # a number may be another connection's now; the rest is told again
                elif fd == self._wake:
                    os.eventfd_read(fd)
            for _ in range(len(ready)):
                connection = ready.popleft()
                data, connection.buffer = connection.buffer, b""
                if not self._advance(connection, data):
                    return
            now = time.monotonic()
            if now >= self._sweep_at:
                self._sweep(now)

    def _pause(self) -> float:
        if self._ready:
            return 0.0
        return _DRAIN_SWEEP_SECONDS if self._draining_since else _SWEEP_SECONDS

    def _accept(self, listener: Any) -> bool:
        """Some of those who wait there: one, if other workers may take the next.

        Whether somebody had to go to make room.
        """
        try:
            for _ in range(self._accepted_at_once):
                self.accept(listener)
                if len(self._connections) > self._server.worker_connections:
                    return self._evict()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._server.log.error("No file descriptor is left for a connection: %s", error)
                if self._evict():
                    return True
                time.sleep(_FULL_SECONDS)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
        return False

    def _read(self, connection: Connection) -> bool:
        """Takes in what has come; False when the lead was lost meanwhile."""
        if connection.busy:
            self._disarm(connection)
            return True
        if not (self._reads or connection.lingering):
            return self._pass_to_gunicorn(connection, b"")
        try:
            data = connection.sock.recv(_RECEIVED_MOST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:  # reset by the client
            self._close(connection)
            return True
        if not data or connection.lingering:
            return self._read_the_end(connection, data)
        if connection.buffer:
            data = connection.buffer + data
        return self._advance(connection, data)

    def _read_the_end(self, connection: Connection, data: bytes) -> bool:
        if connection.lingering:
            connection.needed += len(data)
            if not data or connection.needed > _LINGER_MOST:
                self._close(connection)
        elif connection.buffer:  # it closes in the middle, or has half closed: Gunicorn knows
            return self._pass_to_gunicorn(connection, connection.buffer)
        else:
            self._close(connection)
        return True

    def _advance(self, connection: Connection, data: bytes) -> bool:
        """Has the first request of `data` answered, if it is whole; False: the lead was lost."""
        if len(data) < connection.needed:
            connection.buffer = data
            return True
        if not self._reads:
            return self._pass_to_gunicorn(connection, b"")
        found = self._parser.read(data, connection.environ, trusted=connection.trusted)
        if found is Reading.INCOMPLETE:
            return self._await_head(connection, data)
        if found is Reading.UNUSUAL:
            return self._pass_to_gunicorn(connection, data)
        environ, end = found
        if type(connection.server) is str:
            environ["SERVER_NAME"], environ["SERVER_PORT"] = server_of(
                connection.server, environ.get("HTTP_HOST"), environ["wsgi.url_scheme"]
            )
        length = environ.get("CONTENT_LENGTH")
        if length is None:
            environ["wsgi.input"] = Body()
        else:
            head = end
            end = _end_of_body(head, length)
            if end < 0:
                return self._pass_to_gunicorn(connection, data)
            if len(data) < end:
                self._await(connection, data)
                connection.needed = end
                return True
            environ["wsgi.input"] = Body(data[head:end])
        connection.buffer = data[end:]
        connection.needed = 0
        return self._answer(connection, environ, data)

    def _answer(self, connection: Connection, environ: Environ, data: bytes) -> bool:
        blocking, threads = self._blocking, self.threads
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        connection.busy = True
        passed = bool(blocking) and blocking.expects(method, path) and threads.pass_on()
        self._answered += 1
        worked = time.thread_time() if self._answered % _SAMPLED == 0 else None
        now = time.monotonic()
        me = None if passed else threads.enter(now)
        keep = self._server.answer(connection, environ, data, now)
        ended = time.monotonic()
        leading = me is not None and threads.leave(me)
        if not passed:
            waited = ended - now
            if worked is not None and waited >= _WAITED_SECONDS:
                waited -= time.thread_time() - worked
            if waited >= (LONG_SECONDS if worked is None else _WAITED_SECONDS):
                blocking.learn(method, path)
        self._finish(connection, ended, keep=keep, leading=leading)
        return leading

    def _pass_to_gunicorn(self, connection: Connection, data: bytes) -> bool:
        connection.busy = True
        connection.buffer = b""
        connection.needed = 0
        if connection.polled:  # the application may take the connection over
            connection.polled = False
            self._epoll.unregister(connection.fd)
        me = None if self.threads.pass_on() else self.threads.enter(time.monotonic())
        keep = self._server.answer_as_gunicorn(connection, data)
        leading = me is not None and self.threads.leave(me)
        self._finish(connection, time.monotonic(), keep=keep, leading=leading)
        return leading

    def _await_head(self, connection: Connection, data: bytes) -> bool:
        """Waits for the rest, unless Gunicorn would refuse what there is."""
        ended = b"\n" in data[len(connection.buffer) :]
        limits = self._parser
        too_long = len(data) > limits.line_most and b"\n" not in data
        decides = ended or too_long or len(data) > limits.head_buffered_most
        refused = refusal(self._server.cfg, data, connection.peer) if decides else None
        if refused is not None:
            self._server.refuse(connection, refused)
            self._linger(connection, time.monotonic())
        elif len(data) > _HEAD_MOST:
            return self._pass_to_gunicorn(connection, data)
        else:
            self._await(connection, data)
        return True

    def _await(self, connection: Connection, data: bytes) -> None:
        if not connection.buffer:
            connection.wait(time.monotonic(), self._read_seconds)
        connection.buffer = data

    def _disarm(self, connection: Connection) -> None:
        """Something came in, or the client left, while its request is answered: not now."""
        connection.polled = False
        with contextlib.suppress(OSError):
            self._epoll.unregister(connection.fd)
        if not connection.busy:  # done in this moment, by a thread that saw it polled
            self._poll(connection)

    # --- by the leader, or by the thread that has answered

    def _finish(self, connection: Connection, now: float, *, keep: bool, leading: bool) -> None:
        """The request is answered; the connection becomes the leader's again."""
        if not keep:
            self._linger(connection, now)
            return
        connection.fresh = False
        connection.wait(now, self._keepalive)
        waiting = bool(connection.buffer)
        connection.busy = False
        if waiting:
            self._ready.append(connection)
            if not leading:
                self.wake()
        if not connection.polled:
            self._poll(connection)

    def _linger(self, connection: Connection, now: float) -> None:
        """Closes so that the client gets the answer whole (RFC 9112, 9.6)."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        connection.lingering = True
        connection.buffer = b""
        connection.needed = 0
        connection.wait(now, _LINGER_SECONDS)
        connection.busy = False
        if not connection.polled:
            self._poll(connection)

    def _poll(self, connection: Connection) -> None:
        connection.polled = True
        with contextlib.suppress(FileExistsError):
            self._epoll.register(connection.fd, select.EPOLLIN)

    def _close(self, connection: Connection) -> None:
        # Its number may be another connection's by now, if somebody has closed the socket.
        if self._connections.get(connection.fd) is connection:
            del self._connections[connection.fd]
            if connection.polled:  # a copy of the descriptor would keep it in epoll
                with contextlib.suppress(OSError, ValueError):
                    self._epoll.unregister(connection.fd)
        with contextlib.suppress(OSError):
            connection.sock.close()

    # --- time

    def _sweep(self, now: float) -> None:
        """Closes what has waited long enough."""
        self._sweep_at = now + self._pause()
        for connection in list(self._connections.values()):
            if not connection.busy and now >= self._deadline(connection):
                self._expire(connection, now)

    def _deadline(self, connection: Connection) -> float:
        if not self._draining_since or connection.buffer or connection.lingering:
            return connection.deadline
        wait = _FIRST_BYTES_SECONDS if connection.fresh else _STOP_KEEPALIVE_SECONDS
        return min(connection.deadline, self._draining_since + wait)

    def _expire(self, connection: Connection, now: float) -> None:
        if not connection.buffer or connection.lingering:
            self._close(connection)
            return
        with contextlib.suppress(OSError):
            connection.sock.send(_TOO_LATE, socket.MSG_DONTWAIT)
        self._linger(connection, now)

    def _evict(self) -> bool:
        """Closes the connection that the loop has waited for longest; False when there is none."""
        idle = [each for each in list(self._connections.values()) if not each.busy]
        if idle:
            self._close(min(idle, key=lambda each: each.since))
        return bool(idle)


def _end_of_body(head: int, length: str) -> int:
    """Where the body ends; -1 for a length that is not usual."""
    if not (length.isascii() and length.isdecimal() and len(length) <= _DIGITS_MOST):
        return -1
    size = int(length)
    return head + size if size <= _BODY_MOST else -1
