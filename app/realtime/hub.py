"""The door to a worker's room: from the threads that answer requests to the loop's thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import threading
from asyncio import AbstractEventLoop
from dataclasses import dataclass, field

from websockets.http11 import Response

from app.db import DatabaseUnavailable
from app.per_process import PerProcess
from app.realtime import notice
from app.realtime.room import Draining, Room

log = logging.getLogger(__name__)

_START_SECONDS = 5.0
_ADMIT_SECONDS = 3.0  # above the room's own 2 s
_END_SECONDS = 1.0  # of a worker's end: for close frames on their way
_OTHER_DESCRIPTORS = 128  # that a worker needs beside its clients'


@dataclass
class _State:
    """What belongs to one process and must not cross a fork."""

    lock: threading.Lock = field(default_factory=threading.Lock)  # held by who starts it
    thread: threading.Thread | None = None
    open: tuple[AbstractEventLoop, Room, asyncio.Event] | None = None
    ended: bool = False


class Hub(PerProcess[_State]):
    """One thread a process with all its WebSocket clients, started by the first of them.

    A fork leaves the parent's thread and clients to the parent. All methods may be called from any
    thread.
    """

    def __init__(self, *, url: str | None, max_clients: int):
        super().__init__(_State)
        self._url = url
        self._max_clients = max_clients

    def reserve(self) -> None:
        """Keeps a place for a client; raises Draining, Full or DatabaseUnavailable within 3 s."""
        loop, room, _ = self._opened()
        admitted = asyncio.run_coroutine_threadsafe(room.admit(), loop)
        try:
            admitted.result(_ADMIT_SECONDS)
        except TimeoutError as error:
            admitted.cancel()
            raise DatabaseUnavailable("no answer in time") from error

    def give_back(self) -> None:
        """The place that `reserve` kept is not needed."""
        opened = self._state.open
        if opened is not None:
            loop, room, _ = opened
            loop.call_soon_threadsafe(room.give_back)

    def welcome(self, connection: socket.socket, answer: Response) -> None:
        """Takes the connection to the place that `reserve` kept; the answer is sent from there."""
        opened = self._state.open
        if opened is None:
            connection.close()  # it ended meanwhile
            return
        loop, room, _ = opened
        loop.call_soon_threadsafe(room.welcome, connection, answer)

    def close(self) -> None:
        """Sends all clients away, and waits for them and the thread for at most 1 s.

        Under a server that gives no notice of a drain this is the first that clients hear of it.
        """
        state = self._state
        state.ended = True
        if state.open is not None and state.thread is not None:
            loop, _, over = state.open
            with contextlib.suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(over.set)
            state.thread.join(_END_SECONDS)

    def _opened(self) -> tuple[AbstractEventLoop, Room, asyncio.Event]:
        state = self._state
        if state.ended:
            raise Draining
        opened = state.open
        if opened is not None:
            return opened
        with state.lock:
            if state.open is None:
                started = threading.Event()
                state.thread = threading.Thread(
                    target=self._run, args=(state, started), name="realtime", daemon=True
                )
                state.thread.start()
                started.wait(_START_SECONDS)
            if state.open is None:
                raise DatabaseUnavailable("the thread of the WebSocket clients did not start")
            return state.open

    def _run(self, state: _State, started: threading.Event) -> None:
        try:
            asyncio.run(self._live(state, started))
        except Exception:
            log.exception("The thread of the WebSocket clients ended")
        finally:
            state.open = None  # the next client starts another
            started.set()

    async def _live(self, state: _State, started: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        room = Room(url=self._url, places=_places(self._max_clients), loop=loop)
        over = asyncio.Event()
        told = notice.descriptor(os.environ)
        if told is not None:
            if notice.given(told):
                room.drain()
            else:
                loop.add_reader(told, _drain, loop, told, room)
        state.open = loop, room, over
        started.set()
        await over.wait()
        await room.end(_END_SECONDS * 0.8)


def _drain(loop: AbstractEventLoop, told: int, room: Room) -> None:
    loop.remove_reader(told)  # it stays readable
    room.drain()


def _places(wanted: int) -> int:
    """How many clients the limit of open files leaves room for."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or wanted <= limit - _OTHER_DESCRIPTORS:
        return wanted
    fitting = max(1, limit - _OTHER_DESCRIPTORS)
    log.warning(
        "REALTIME_MAX_CLIENTS=%d, but the limit of %d open files has room for %d",
        *(wanted, limit, fitting),
        extra={"event": "realtime.limited"},
    )
    return fitting
