"""The clients of one worker: who is let in, what they hear, when they are sent away."""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import AbstractEventLoop

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response

from app.realtime.channel import Channel
from app.realtime.client import Client

log = logging.getLogger(__name__)


class Draining(Exception):  # noqa: N818 - a state, not a fault
    """This worker is leaving; another one takes the client."""


class Full(Exception):  # noqa: N818
    """This worker has as many clients as it may have."""


class Room:
    """Lives on the loop's thread; nothing of it may be called from another."""

    def __init__(self, *, url: str | None, places: int, loop: AbstractEventLoop):
        self._loop = loop
        self._places = places  # free ones; who was let in and is not there yet has one
        self._clients: set[Client] = set()
        self._coming: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._channel = Channel(url, loop=loop, heard=self._heard, lost=self._lost)

    async def admit(self) -> None:
        """Keeps a place, once this worker hears all messages; raises Draining or Full.

        Raises DatabaseUnavailable within about 2 s when it cannot hear them.
        """
        self._refuse_when_draining()
        if self._places < 1:
            raise Full
        self._places -= 1
        try:
            await self._channel.listen()
            self._refuse_when_draining()
        except BaseException:
            self._places += 1
            raise

    def give_back(self) -> None:
        """The place of somebody who was let in and does not come."""
        self._places += 1

    def welcome(self, connection: socket.socket, answer: Response) -> None:
        """Takes the connection of a client that was let in, and sends it the answer."""
        self._empty.clear()
        task = self._loop.create_task(self._connect(connection, answer))
        self._coming.add(task)
        task.add_done_callback(self._came)

    def drain(self) -> None:
        """Tells all clients to come again, elsewhere; from now on nobody is let in."""
        if self._draining:
            return
        self._draining = True
        count = len(self._clients)
        for client in self._clients:
            self._send_away(client)
        if count:
            log.info("Told %d WebSocket client(s) to reconnect", count, extra=_DRAINED)

    async def end(self, seconds: float) -> None:
        """Drains, and gives clients and messages so long to be gone."""
        self.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._channel.all_said()
                await self._empty.wait()
        except TimeoutError:
            log.debug("%d WebSocket client(s) did not answer the close", len(self._clients))
        for client in self._clients:
            client.drop()
        await self._channel.close()

    # --- what its clients tell

    def joined(self, client: Client) -> None:
        self._clients.add(client)
        if self._draining:
            self._send_away(client)
        elif not self._channel.listening:
            client.close(CloseCode.TRY_AGAIN_LATER, _MISSED)

    def said(self, client: Client, text: str) -> None:
        self._channel.say(
            text, failed=lambda: client.close(CloseCode.TRY_AGAIN_LATER, "not passed on")
        )

    def left(self, client: Client) -> None:
        self._clients.discard(client)
        self._places += 1
        self._look_around()

    # --- what the channel tells

    def _heard(self, text: str) -> None:
        frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)  # once, for all of them
        for client in self._clients:
            client.deliver(frame)

    def _lost(self, why: str) -> None:
        # A gap must not go unnoticed: whoever comes again knows that there was one.
        log.warning(
            "Realtime lost Postgres: %s; closing %d WebSocket client(s)",
            *(why, len(self._clients)),
            extra={"event": "realtime.lost"},
        )
        for client in self._clients:
            client.close(CloseCode.TRY_AGAIN_LATER, _MISSED)

    # ---

    async def _connect(self, connection: socket.socket, answer: Response) -> None:
        client = Client(answer=answer, host=self)
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: client, connection)
        except OSError as error:
            log.debug("A WebSocket client was gone before it was there: %s", error)
            connection.close()
            self.give_back()

    def _came(self, task: asyncio.Task[None]) -> None:
        self._coming.discard(task)
        self._look_around()

    def _look_around(self) -> None:
        if not self._clients and not self._coming:
            self._empty.set()

    def _send_away(self, client: Client) -> None:
        client.close(CloseCode.SERVICE_RESTART, "this worker leaves; reconnect")

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Draining


_MISSED = "messages may have been missed; reconnect"
_DRAINED = {"event": "realtime.drained"}
