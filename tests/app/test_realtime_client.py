"""One client's connection: its pings, and what a flood costs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Response

from app.realtime.client import Client
from app.realtime.handshake import accept
from tests.app.test_realtime import SECONDS, environ


class Notes:
    """Where the client is; notes what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.gone = asyncio.Event()

    def joined(self, client: Client) -> None: ...

    def said(self, client: Client, text: str) -> None:  # noqa: ARG002 - as a Host
        self.texts.append(text)

    def left(self, client: Client) -> None:  # noqa: ARG002
        self.gone.set()


Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def meet(talk: Callable[[Notes, Peer], Awaitable[None]], *, ping_seconds: float = 60) -> Notes:
    """Runs `talk` with a peer whose handshake is answered; what the client's host was told."""

    async def run() -> Notes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        notes = Notes()
        answer: Response = accept(environ())
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Client(answer=answer, host=notes, ping_seconds=ping_seconds), ours
        )
        reader, writer = await asyncio.open_connection(sock=theirs)
        await reader.readuntil(b"\r\n\r\n")
        try:
            async with asyncio.timeout(SECONDS):
                await talk(notes, (reader, writer))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            async with asyncio.timeout(SECONDS):
                await notes.gone.wait()
        return notes

    return asyncio.run(run())


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def close_code(reader: asyncio.StreamReader) -> int:
    """The code of the close frame at the end of what comes."""
    rest = await reader.read(-1)
    at = rest.index(bytes([0x88]))
    return int.from_bytes(rest[at + 2 : at + 4])


def test_who_answers_no_ping_is_dropped() -> None:
    async def talk(notes: Notes, peer: Peer) -> None:
        assert await peer[0].readexactly(2) == bytes([0x89, 0])
        await notes.gone.wait()

    meet(talk, ping_seconds=0.1)


def test_who_answers_pings_stays() -> None:
    async def talk(notes: Notes, peer: Peer) -> None:
        reader, writer = peer
        for _ in range(3):
            assert await reader.readexactly(2) == bytes([0x89, 0])
            writer.write(frame(Opcode.PONG))
        assert not notes.gone.is_set()

    meet(talk, ping_seconds=1.5)


def test_a_ping_is_answered() -> None:
    async def talk(_: Notes, peer: Peer) -> None:
        reader, writer = peer
        writer.write(frame(Opcode.PING, b"are you there"))
        assert await reader.readexactly(15) == bytes([0x8A, 13]) + b"are you there"

    meet(talk)


@pytest.mark.parametrize(
    "flood",
    [
        frame(Opcode.PING) * 200,
        frame(Opcode.TEXT, fin=False) + frame(Opcode.CONT, fin=False) * 200,
    ],
    ids=["pings", "empty fragments"],
)
def test_a_flood_of_frames_that_are_no_message_is_cut_off(flood: bytes) -> None:
    async def talk(_: Notes, peer: Peer) -> None:
        peer[1].write(flood)
        assert await close_code(peer[0]) == 1008

    assert meet(talk).texts == []


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
        (frame(Opcode.CONT, b"of what?"), 1002),
        (frame(Opcode.BINARY, b"x", fin=False), 1003),
        (Frame(Opcode.TEXT, b"not masked").serialize(mask=False), 1002),
    ],
    ids=["not UTF-8", "continues nothing", "binary", "not masked"],
)
def test_what_breaks_the_protocol_closes(sent: bytes, code: int) -> None:
    async def talk(_: Notes, peer: Peer) -> None:
        peer[1].write(sent)
        assert await close_code(peer[0]) == code

    assert meet(talk).texts == []


def test_what_was_said_before_a_close_is_heard() -> None:
    async def talk(_: Notes, peer: Peer) -> None:
        reader, writer = peer
        writer.write(frame(Opcode.TEXT, b"last words") + frame(Opcode.CLOSE, b"\x03\xe8"))
        assert await close_code(reader) == 1000

    assert meet(talk).texts == ["last words"]


def test_what_was_said_after_a_violation_is_not() -> None:
    async def talk(_: Notes, peer: Peer) -> None:
        reader, writer = peer
        writer.write(frame(Opcode.BINARY, b"x") + frame(Opcode.TEXT, b"more"))
        assert await close_code(reader) == 1003

    assert meet(talk).texts == []
