"""One connection to the server under test, and the pool of those that are kept."""

from __future__ import annotations

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable

from loadtests.answer_reader import AnswerReader, ProtocolError
from loadtests.outcome import Answer, Failure, Fault
from loadtests.target import Target


async def connect(target: Target) -> Connection:
    """A new connection; raises OSError as the kernel says it, and tries once only."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if isinstance(target.address, str):
            # Not by asyncio: it takes a full backlog (EAGAIN) for a connection in progress.
            sock.connect(target.address)
        else:
            await loop.sock_connect(sock, target.address)
        return (await loop.create_connection(Connection, sock=sock))[1]
    except BaseException:
        sock.close()
        raise


class Connection(asyncio.Protocol):
    """Carries one request at a time; each ends in one Answer or Failure, never in a retry."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._reader = AnswerReader()
        self._done: Callable[[Answer | Failure], None] | None = None  # None: idle
        self._descriptor = -1

    def send(self, request: bytes, done: Callable[[Answer | Failure], None]) -> None:
        """Sends a request; `done` is called once, later, unless `close` comes first."""
        self._reader = AnswerReader()
        self._done = done
        self._transport.write(request)

    def usable(self) -> bool:
        """Whether a request may be sent: idle, open, and nothing has come unasked.

        What comes on an idle connection is the server's end of it. The kernel is asked, for the
        event loop may not have come to read it yet.
        """
        if self._done is not None or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Ends the connection at once; a request on it hears no more."""
        self._done = None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # narrows the type
        self._transport = transport
        self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if self._done is None:
            self.close()
            return
        try:
            self._reader.feed(data)
        except ProtocolError as error:
            self._finish(Failure(Fault.OTHER, str(error)))
        else:
            if self._reader.answer is not None:
                self._finish(self._reader.answer)

    def eof_received(self) -> None:  # the transport closes itself after this
        self._reader.end()
        if self._reader.answer is not None:
            self._finish(self._reader.answer)

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, OSError):
            self._finish(Failure.of(error))
        elif self._reader.received:
            self._finish(Failure(Fault.EOF, f"closed after {self._reader.received} bytes"))
        else:
            self._finish(Failure(Fault.EOF, "closed before the answer"))

    def _finish(self, result: Answer | Failure) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


class Pool:
    """Idle kept connections, used in turn so that none idles for long.

    It wants `spare` of them idle before one is used again, so that the load reaches several
    workers at once and not the one that answered first.
    """

    def __init__(self, *, spare: int, idle_limit: float) -> None:
        self._spare = spare
        self._idle_limit = idle_limit  # seconds
        self._idle: deque[tuple[Connection, float]] = deque()  # with the time of its last answer

    def take(self, now: float) -> Connection | None:
        """The usable connection that idled longest, or None: open a new one.

        Connections older than the limit, or ended by the server meanwhile, are closed in passing.
        """
        for _ in range(len(self._idle)):
            connection, since = self._idle.popleft()
            if now - since > self._idle_limit or not connection.usable():
                connection.close()
            elif len(self._idle) + 1 < self._spare:
                self._idle.appendleft((connection, since))
                return None
            else:
                return connection
        return None

    def give(self, connection: Connection, now: float) -> None:
        """Takes in a connection whose request was answered."""
        self._idle.append((connection, now))

    def close(self) -> None:
        """Closes every idle connection."""
        while self._idle:
            self._idle.popleft()[0].close()
