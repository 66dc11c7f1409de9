"""One client's connection, as the loop knows it."""

from __future__ import annotations

import socket
from typing import Any

from deploy.cluster.adaptive.head import Template


class Connection:
    """A socket and what has come in of the next request.

    The socket stays in blocking mode, as applications know it from Gunicorn; the loop reads with
    MSG_DONTWAIT. `busy` belongs to the thread that answers, everything else to the leader, and
    to that thread while it is busy.
    """

    __slots__ = (
        "_first",
        "buffer",
        "busy",
        "deadline",
        "fd",
        "fresh",
        "gunicorn",
        "holding",
        "keep",
        "lingering",
        "needed",
        "peer",
        "server",
        "since",
        "sock",
        "template",
        "trusted",
        "unsent",
        "watched",
    )

    def __init__(self, sock: socket.socket, peer: Any, server: Any):
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.server = server
        self.template = Template({})  # what the requests of the connection have in common
        self.trusted = False  # whether the peer may speak for another client
        self.buffer = b""  # of requests that have not been answered
        self.needed = 0  # bytes that make the buffer a whole request; 0: not known yet
        self.since = 0.0  # monotonic seconds: from when on the loop waits for it
        self.deadline = 0.0  # monotonic seconds: when the loop has waited enough for it
        self.fresh = True  # no request has been answered yet
        self.busy = False  # a thread answers a request
        self.watched = False  # epoll knows it
        self.lingering = False  # answered and half closed: what comes in is of no interest
        self.gunicorn: Any = None  # Gunicorn's object, once it has seen to a request
        self.unsent = b""  # of an answer that is held
        self.holding = False  # whether the answer to the request in progress is held
        self.keep = False  # after that answer
        self._first: list[None] = []  # an entry for who is done first: who answers or who sends

    def hold(self, data: bytes) -> None:
        """The answer is complete, and is sent later."""
        self.unsent = data
        self.holding = True
        self._first.append(None)

    def meet(self) -> bool:
        """Who answers and who sends call this when they are done; True for the second of them."""
        try:
            self._first.pop()  # one step, whatever thread does it
        except IndexError:
            return True
        return False

    def wait(self, now: float, seconds: float) -> None:
        """The loop waits for the client from now on, so long at most."""
        self.since = now
        self.deadline = now + seconds
