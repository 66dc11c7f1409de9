"""One WebSocket client, from its handshake's answer to the end of its connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from app.realtime.bucket import Bucket

PING_SECONDS = 20.0
_CLOSE_SECONDS = 2.0  # for the client's part of a close
_BEHIND_MOST = 256 * 1024  # bytes that a client has not read yet, beside what the kernel holds
_MESSAGE_MOST = 4096  # bytes of UTF-8; NOTIFY takes less than 8000
_MESSAGES = {"rate": 10, "burst": 20}
# Of any kind, fragments and pings too: they cost time, and no message of theirs is ever counted.
_FRAMES = {"rate": 50, "burst": 100}
_SLICE = 4096  # bytes that are looked into at once: a flood is noticed before it is all parsed

# Never at DEBUG: it would log what people write to each other.
_log = logging.getLogger("app.realtime.websocket")
_log.setLevel(logging.WARNING)


class Host(Protocol):
    """Where clients are; it is told what becomes of them, on the loop's thread."""

    def joined(self, client: Client) -> None:
        """The answer is sent: messages may follow it."""

    def said(self, client: Client, text: str) -> None:
        """A message that keeps the rules."""

    def left(self, client: Client) -> None:
        """The connection is gone."""


class Client(asyncio.Protocol):
    """Keeps the rules of RFC 6455, and ours; a client that breaks one is closed with its code."""

    def __init__(
        self,
        *,
        answer: Response,
        host: Host,
        ping_seconds: float = PING_SECONDS,
    ):
        # The handshake is done, save for its answer.
        self._websocket = ServerProtocol(state=State.OPEN, max_size=_MESSAGE_MOST, logger=_log)
        self._answer = answer
        self._host = host
        self._ping_seconds = ping_seconds
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._messages = Bucket(**_MESSAGES, now=now)
        self._frames = Bucket(**_FRAMES, now=now)
        self._text = bytearray()  # of a message whose last fragment is not here yet
        self._dismissed = False  # by us: what it still sends is not heard
        self._pong_due = False
        self._pinging: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    def deliver(self, frame: bytes) -> None:
        """Sends a serialized frame; drops a client that has fallen too far behind."""
        if self._websocket.state is State.OPEN:
            self._write(frame)

    def close(self, code: CloseCode, reason: str) -> None:
        """Sends a close frame and gives the client 2 s to answer it."""
        self._dismissed = True
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(code, reason)
            self._flush()

    def drop(self) -> None:
        """Ends the connection without a word."""
        self._transport.abort()

    # --- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._answer.serialize())
        self._pinging = self._loop.call_later(self._ping_seconds, self._ping)
        self._host.joined(self)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            self._websocket.receive_data(data[start : start + _SLICE])
            for event in self._websocket.events_received():
                self._frame(cast(Frame, event))
            self._flush()
            if self._transport.is_closing():
                return

    def eof_received(self) -> None:
        self._websocket.receive_eof()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        for timer in (self._pinging, self._closing):
            if timer is not None:
                timer.cancel()
        self._host.left(self)

    # --- what the client sends

    def _frame(self, frame: Frame) -> None:
        if self._dismissed:
            return
        if not self._frames.take(self._loop.time()):
            self._fail(CloseCode.POLICY_VIOLATION, "too many frames")
        elif frame.opcode is Opcode.PONG:
            self._pong_due = False
        elif frame.opcode is Opcode.BINARY:
            self._fail(CloseCode.UNSUPPORTED_DATA, "only text is passed on")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._text += frame.data
            if frame.fin:
                data, self._text = bytes(self._text), bytearray()
                self._message(data)

    def _message(self, data: bytes) -> None:
        if not self._messages.take(self._loop.time()):
            self._fail(CloseCode.POLICY_VIOLATION, "at most 10 messages a second")
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "not UTF-8")
            return
        if "\0" in text:
            self._fail(CloseCode.INVALID_DATA, "Postgres does not take a NUL")
            return
        self._host.said(self, text)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._dismissed = True
        if self._websocket.state is State.OPEN:  # else a close is under way, whoever began it
            self._websocket.fail(code, reason)

    # --- what it is sent

    def _ping(self) -> None:
        if self._websocket.state is not State.OPEN:
            return
        if self._pong_due:
            self.drop()
            return
        self._pong_due = True
        self._websocket.send_ping(b"")
        self._flush()
        self._pinging = self._loop.call_later(self._ping_seconds, self._ping)

    def _flush(self) -> None:
        for data in self._websocket.data_to_send():
            if data:
                self._write(data)
            else:
                self._transport.write_eof()
        if self._closing is None and self._websocket.close_expected():
            self._closing = self._loop.call_later(_CLOSE_SECONDS, self.drop)

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _BEHIND_MOST:
            self.drop()
