"""Sends the answers that are held: by the leader, and by others where the leader is busy."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Protocol

from deploy.cluster.adaptive.clients import Clients
from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.held import Held
from deploy.cluster.adaptive.lead import Lead

_RETRY_SECONDS = 0.001


class Finish(Protocol):
    """Has a connection go on whose request is answered."""

    def __call__(self, connection: Connection, now: float, *, keep: bool, leading: bool) -> None:
        """`leading`: whether the thread that calls it leads."""


class Sending:
    """What is held, and how it gets to the clients.

    A client that takes nothing more of its answer holds a thread as with gthread, but no longer
    than the clients' `patience`, and none of the others'.
    """

    def __init__(self, threads: Lead, clients: Clients, finish: Finish):
        self.held = Held()
        self._threads = threads
        self._clients = clients
        self._finish = finish

    def hold(self, connection: Connection, data: bytes, began: float) -> None:
        """Its answer goes with the others of this turn, if this is still the leader's turn."""
        self.held.hold(connection, data, began)
        if not self._threads.leads_since(began):  # then the one who leads now may not look
            self.what_fits()

    def answered(self, connection: Connection, *, keep: bool, leading: bool) -> bool:
        """Its request is done; whether its answer is sent already, so that it goes on at once."""
        connection.holding = False
        connection.keep = keep
        if connection.meet():
            return True
        if not leading:
            self.what_fits()
        return False

    def all(self) -> bool:
        """Sends what is held, by the leader; whether it leads afterwards."""
        if not self.held:
            return True
        slow = self._send(leading=True)
        if slow is None:
            return True
        me = self._threads.enter(time.monotonic())
        self._wait_for(slow)
        leading = self._threads.leave(me)
        self._go_on([slow], leading=leading)
        return leading and self.all()

    def what_fits(self) -> None:
        """Sends what is held, without waiting for anybody; by any thread."""
        slow = self._send(leading=False)
        if slow is not None:
            self.held.put_back(slow)
            self._clients.wake()

    def first(self, connection: Connection) -> bool:
        """Sends what is held of it, as something else is to be written there; whether it may be."""
        deadline = time.monotonic() + self._clients.patience
        while connection.unsent and time.monotonic() < deadline:
            self.what_fits()
            if connection.unsent:  # a slow reader, or another thread is sending it
                time.sleep(_RETRY_SECONDS)
        return not connection.unsent

    def _send(self, *, leading: bool) -> Connection | None:
        """Sends, without waiting, up to the first that is only taken in part; that one.

        First all are sent, then the rest is seen to: so clients that wait on another CPU are woken
        together. That costs more than to send.
        """
        sent: list[Connection] = []
        slow = None
        while (connection := self.held.take()) is not None:
            if not _send_to(connection):
                slow = connection
                break
            sent.append(connection)
        self._go_on(sent, leading=leading)
        return slow

    def _go_on(self, connections: list[Connection], *, leading: bool) -> None:
        now = time.monotonic()
        for connection in connections:
            if connection.meet():
                self._finish(connection, now, keep=connection.keep, leading=leading)

    def _wait_for(self, slow: Connection) -> None:
        """Sends the rest of its answer; a client that does not take it in time has lost it."""
        poll = select.poll()
        poll.register(slow.fd, select.POLLOUT)
        deadline = time.monotonic() + self._clients.patience
        while not _send_to(slow):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                slow.unsent = b""
                with contextlib.suppress(OSError):
                    slow.sock.shutdown(socket.SHUT_RDWR)
                return


def _send_to(connection: Connection) -> bool:
    """Sends what the client takes of its answer without waiting; whether that is all."""
    data = connection.unsent
    try:
        connection.unsent = data[connection.sock.send(data, socket.MSG_DONTWAIT) :]
    except BlockingIOError:
        return False
    except OSError:  # the client has left: what is read next says so
        connection.unsent = b""
    return not connection.unsent
