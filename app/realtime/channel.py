"""From any worker to all of them: LISTEN and NOTIFY on one channel of Postgres.

Two connections: one hears, one speaks. What is heard is in the order in which it was said, and all
who listen hear the same (Postgres, NOTIFY: "Notes").
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from app.db import RETRY_AFTER, DatabaseUnavailable, reason
from app.db.connection import libpq_parameters

log = logging.getLogger(__name__)

_LISTEN = "LISTEN smart_factory_realtime"
# Each in a transaction of its own: Postgres drops a message that its transaction has sent before.
_NOTIFY = "SELECT pg_notify('smart_factory_realtime', %s)"

_LISTEN_SECONDS = 2.0
_PUBLISH_SECONDS = 2.0  # from a message's arrival, with the time it waits for its turn
_WAITING_MOST = 1000  # messages that wait for their turn
_NO_ANSWER = "no answer in time"


class _Connection(psycopg.AsyncConnection[TupleRow]):
    """Its answers are due at `deadline`, in seconds of the loop's clock."""

    deadline = float("inf")

    async def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        # asyncio's own timeouts would cancel: psycopg then asks the server, and waits again.
        left = max(0.0, self.deadline - asyncio.get_running_loop().time())
        return await super().wait(gen, interval, left if timeout is None else min(left, timeout))


@dataclass(frozen=True)
class _Message:
    text: str
    deadline: float
    failed: Callable[[], None]


class Channel:
    """Hears and speaks while Postgres is there; to be used on the loop's thread only.

    `heard` gets each message; `lost` is called when messages may have been missed.
    """

    def __init__(
        self,
        url: str | None,
        *,
        loop: AbstractEventLoop,
        heard: Callable[[str], None],
        lost: Callable[[str], None],
    ):
        self._url = url
        self._loop = loop
        self._heard = heard
        self._lost = lost
        self._listener: _Connection | None = None
        self._listener_fd = -1  # a connection that broke does not know its own any more
        self._opening: Task[None] | None = None
        self._retry_at = 0.0  # loop's seconds: until then nobody tries
        self._why = ""
        self._speaker: _Connection | None = None
        self._queue: asyncio.Queue[_Message] = asyncio.Queue(_WAITING_MOST)
        self._speaking: Task[None] | None = None

    @property
    def listening(self) -> bool:
        """Whether what is said from now on is heard, or `lost` called."""
        return self._listener is not None

    async def listen(self) -> None:
        """Returns when it listens; raises DatabaseUnavailable, after 2 s at most."""
        if self._listener is not None:
            return
        if self._url is None:
            raise DatabaseUnavailable("DATABASE_URL is not set")
        if self._opening is None:
            if self._loop.time() < self._retry_at:
                raise DatabaseUnavailable(self._why)
            self._opening = self._loop.create_task(self._open(self._url))
        # All who ask meanwhile wait for the same attempt, and none of them ends it.
        done, _ = await asyncio.wait([self._opening], timeout=_LISTEN_SECONDS)
        if self._listener is None:
            raise DatabaseUnavailable(self._why if done else _NO_ANSWER)

    def say(self, text: str, *, failed: Callable[[], None]) -> None:
        """Says it after what was said before; `failed` when that is not known to have worked."""
        if self._speaking is None:
            self._speaking = self._loop.create_task(self._speak())
        message = _Message(text, self._loop.time() + _PUBLISH_SECONDS, failed)
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            failed()

    async def all_said(self) -> None:
        """Returns when nothing waits for its turn."""
        await self._queue.join()

    async def close(self) -> None:
        """Hears and says nothing more."""
        for task in (self._opening, self._speaking):
            if task is not None:
                task.cancel()
        await self._forget_listener()
        await self._forget_speaker()

    # --- hearing

    async def _open(self, url: str) -> None:
        try:
            connection = await _connect(url, self._loop.time() + _LISTEN_SECONDS)
            try:
                await connection.execute(_LISTEN)
            except BaseException:
                await connection.close()
                raise
            self._listener, self._listener_fd = connection, connection.fileno()
            self._loop.add_reader(self._listener_fd, self._hear)
            self._why = ""
            self._hear()  # what came with the answer makes nothing readable
        except (psycopg.Error, OSError, TimeoutError) as error:
            known, self._why = self._why, _reason(error)
            self._retry_at = self._loop.time() + RETRY_AFTER
            if self._why != known:  # once an outage, not once a client
                log.warning("Realtime has no Postgres: %s", self._why, extra=_event("away"))
        finally:
            self._opening = None

    def _hear(self) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            # As libpq wants it: see PQnotifies. psycopg's own way wakes ten times a second.
            listener.pgconn.consume_input()
            while found := listener.pgconn.notifies():
                self._heard(found.extra.decode(errors="replace"))
        except psycopg.Error as error:
            self._loop.remove_reader(self._listener_fd)
            self._listener = None
            listener.pgconn.finish()
            self._why = _reason(error)
            self._lost(self._why)

    async def _forget_listener(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.remove_reader(self._listener_fd)
            await listener.close()

    # --- speaking

    async def _speak(self) -> None:
        failing = False
        while True:
            message = await self._queue.get()
            try:
                await self._publish(message)
                failing = False
            except Exception as error:  # whatever it was: the sender must know
                if not failing:  # once an outage, not once a message
                    why = _reason(error)
                    log.warning("A message was not passed on: %s", why, extra=_event("failed"))
                failing = True
                await self._forget_speaker()
                message.failed()
            finally:
                self._queue.task_done()

    async def _publish(self, message: _Message) -> None:
        assert self._url is not None  # noqa: S101 - for mypy: clients are let in when it listens
        if self._loop.time() >= message.deadline:
            raise TimeoutError
        if self._speaker is None:
            self._speaker = await _connect(self._url, message.deadline)
        self._speaker.deadline = message.deadline
        # Never a second time: the first may have been carried out, and unanswered.
        await self._speaker.execute(_NOTIFY, [message.text])

    async def _forget_speaker(self) -> None:
        speaker, self._speaker = self._speaker, None
        if speaker is not None:
            await speaker.close()


async def _connect(url: str, deadline: float) -> _Connection:
    async with asyncio.timeout_at(deadline):
        connection = await _Connection.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            client_encoding="UTF8",
            **libpq_parameters(url),
        )
    connection.deadline = deadline
    return connection


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError) or type(error).__name__ == "_WaitTimeout":
        return _NO_ANSWER
    return reason(error)


def _event(name: str) -> dict[str, str]:
    return {"event": f"realtime.{name}"}
