"""The loop of one worker: it accepts, reads without waiting, and has whole requests answered.

Whoever leads runs it. A connection whose request takes long stays with the thread that runs it,
while the next leader polls on.
"""

from __future__ import annotations

import os
import socket
import time
from collections import OrderedDict, deque
from typing import Any, Protocol

from deploy.cluster.adaptive.answer import Hold
from deploy.cluster.adaptive.blocking import BlockingRoutes, has_waited, worth_passing_on
from deploy.cluster.adaptive.body import Body
from deploy.cluster.adaptive.clients import Clients
from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.head import Environ, HeadParser, Reading
from deploy.cluster.adaptive.incomplete import refusal
from deploy.cluster.adaptive.lead import Lead
from deploy.cluster.adaptive.origin import server_of
from deploy.cluster.adaptive.sending import Sending
from deploy.cluster.adaptive.turn import Turn

_RECEIVED_MOST = 64 * 1024
_HEAD_MOST = 64 * 1024  # unfinished; Gunicorn reads on from there, up to its own limits
_DIGITS_MOST = 18  # of a length; int() refuses thousands
# Kept while it comes in; of a larger one the application reads what it wants, and Gunicorn discards
# no more than this of the rest (parser.py, _DRAIN_MAX_BYTES).
_BODY_MOST = 64 * 1024 - 1
# Who sends so much in one go goes on like that, and is soon done: several such requests beside each
# other would only wait for the interpreter's lock. The lead is taken if it takes long all the same.
_FLOWING = 16 * 1024
_BATCH = 16  # connections that are read, then answered
_SAMPLED = 4  # of so many requests one is looked at: whether it waits


class Server(Protocol):
    """What has requests answered: the worker."""

    cfg: Any
    log: Any
    worker_connections: int

    def answer(
        self,
        connection: Connection,
        environ: Environ,
        data: bytes,
        now: float,
        hold: Hold | None,
    ) -> bool:
        """Answers a usual request; whether the connection is kept.

        A whole answer may be given to `hold`, which sends it later.
        """

    def answer_as_gunicorn(self, connection: Connection, data: bytes) -> bool:
        """Has Gunicorn's own code read on from `data`; leaves in the buffer what is left over."""

    def refuse(self, connection: Connection, error: Exception) -> None:
        """Answers a request that is none."""

    def end(self, error: BaseException) -> None:
        """The worker cannot go on."""


class Loop:
    """Reads requests and has them answered, on the thread that leads or beside it."""

    def __init__(self, server: Server, turn: Turn, *, reads: bool):
        cfg = server.cfg
        self.clients = Clients(cfg, server.log, turn, most=server.worker_connections)
        self.threads = Lead(
            self._lead, threads=cfg.threads, overdue=lambda: self.sending.what_fits()
        )
        self.sending = Sending(self.threads, self.clients, self._finish)
        self._server = server
        self._reads = reads  # else Gunicorn does: TLS, the proxy protocol, HTTP/2
        self._parser = HeadParser(cfg, script_name=self.clients.origin.script_name)
        # Descriptors in the order in which epoll told of them, kept from one leader to the next:
        # epoll may put first what came last, again and again, and others would wait for ever.
        self._told: OrderedDict[int, None] = OrderedDict()
        self._ready: deque[Connection] = deque()  # with bytes of the next request in their buffers
        self._blocking = BlockingRoutes()
        self._worth = worth_passing_on(len(os.sched_getaffinity(0)))
        self._answered = 0
        self._stopping = False

    def stop(self, *, seconds: float) -> None:
        """Ends the threads, waiting so long for those that are not in a request."""
        self._stopping = True
        self.clients.wake()
        self.threads.stop(seconds=seconds)
        self.sending.what_fits()

    def _lead(self) -> None:
        """Until the lead is taken, or the worker stops."""
        try:
            while not self._stopping and self._turn():
                self.clients.sweep()
        except Exception as error:  # an error of ours: another worker is to serve
            self._server.end(error)

    # What follows says whether the thread leads on.

    def _turn(self) -> bool:
        clients, told, ready = self.clients, self._told, self._ready
        if not self.sending.all():  # what the leader before has left
            return False
        others = []
        for fd, _ in clients.poll(pause=not (told or ready)):
            if clients.find(fd) is None:
                others.append(fd)
            else:
                told[fd] = None  # who is in it keeps the place
        for fd in others:
            clients.attend(fd, pending=bool(told or ready))
        while True:
            for _ in range(min(len(told), _BATCH)):
                # What has changed since epoll told of it does no harm: nothing is read then.
                connection = clients.find(told.popitem(last=False)[0])
                if connection is not None and not self._read(connection):
                    return False
            if not (self._answer_ready() and self.sending.all()):
                return False
            if not told:
                return True

    def _answer_ready(self) -> bool:
        ready = self._ready
        for _ in range(len(ready)):
            connection = ready.popleft()
            data = connection.buffer
            if data and not connection.busy:  # else epoll was faster
                connection.buffer = b""
                if not self._advance(connection, data):
                    return False
        return True

    def _read(self, connection: Connection) -> bool:
        """Takes in what has come."""
        if connection.busy:
            self.clients.rest(connection)
            return True
        if not (self._reads or connection.lingering):
            return self._pass_to_gunicorn(connection, b"")
        try:
            data = connection.sock.recv(_RECEIVED_MOST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:  # reset by the client
            self.clients.close(connection)
            return True
        if connection.lingering:
            self.clients.read_the_end(connection, data)
        elif not data and not connection.buffer:
            self.clients.close(connection)
        elif not data:  # it closes in the middle, or has half closed: Gunicorn knows
            return self._pass_to_gunicorn(connection, connection.buffer)
        elif connection.buffer:
            return self._advance(connection, connection.buffer + data)
        else:
            connection.buffer = data
            self._ready.append(connection)
        return True

    def _advance(self, connection: Connection, data: bytes) -> bool:
        """Has the first request of `data` answered, if it is whole."""
        if len(data) < connection.needed:
            connection.buffer = data
            return True
        if not self._reads:
            return self._pass_to_gunicorn(connection, b"")
        found = self._parser.read(data, connection.template, trusted=connection.trusted)
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
                self.clients.await_request(connection, data)
                connection.needed = end
                return True
            environ["wsgi.input"] = Body(data[head:end])
        connection.buffer = data[end:]
        connection.needed = 0
        return self._answer(connection, environ, data)

    def _answer(self, connection: Connection, environ: Environ, data: bytes) -> bool:
        blocking, threads, sending = self._blocking, self.threads, self.sending
        held = sending.held
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        connection.busy = True
        passed = bool(blocking) and blocking.expects(method, path) and threads.pass_on()
        self._answered += 1
        # Threads beside each other wait for the interpreter's lock, which says nothing of a route.
        sampled = self._answered % _SAMPLED == 0 and not passed and threads.others_follow
        worked = time.thread_time() if sampled else 0.0
        now = time.monotonic()
        if held.due(now) and not passed:
            passed = not sending.all()
        more = held.quick and not passed and self._others_wait()
        me = None if passed else threads.enter(now)
        keep = self._server.answer(connection, environ, data, now, sending.hold if more else None)
        ended = time.monotonic()
        leading = me is not None and threads.leave(me)
        held.took(ended - now)
        if sampled and (blocking.in_doubt or ended - now >= self._worth):
            worked = time.thread_time() - worked
            waited = has_waited(ended - now, worked, worth=self._worth, alone=leading)
            blocking.learn(method, path, waited)
        if not connection.holding or sending.answered(connection, keep=keep, leading=leading):
            self._finish(connection, ended, keep=keep, leading=leading)
        return leading

    def _others_wait(self) -> bool:
        return bool(self._ready or self._told)

    def _pass_to_gunicorn(self, connection: Connection, data: bytes) -> bool:
        connection.busy = True
        connection.buffer = b""
        connection.needed = 0
        self.clients.release(connection)  # the application may take it over
        flows = len(data) >= _FLOWING
        passed = not flows and self.threads.pass_on()
        me = None if passed else self.threads.enter(time.monotonic())
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
            self.clients.linger(connection, time.monotonic())
        elif len(data) > _HEAD_MOST:
            return self._pass_to_gunicorn(connection, data)
        else:
            self.clients.await_request(connection, data)
        return True

    def _finish(self, connection: Connection, now: float, *, keep: bool, leading: bool) -> None:
        """The request is answered; the connection becomes the leader's again."""
        if not keep:
            self.clients.linger(connection, now)
            return
        waiting = bool(connection.buffer)
        self.clients.keep(connection, now)
        if waiting:
            self._ready.append(connection)
            if not leading:
                self.clients.wake()


def _end_of_body(head: int, length: str) -> int:
    """Where the body ends; -1 for a length that is not usual."""
    if not (length.isascii() and length.isdecimal() and len(length) <= _DIGITS_MOST):
        return -1
    size = int(length)
    return head + size if size <= _BODY_MOST else -1
