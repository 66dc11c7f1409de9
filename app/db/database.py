"""The one way to Postgres: a pool a process, opened on first use, that heals itself."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from app.db.connection import Connection, libpq_parameters, limit_statements, reason
from app.per_process import PerProcess

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_AFTER = 1  # seconds: what a client that got a 503 is told, and how long the breaker is open
_POOL_SECONDS = 2.0  # for a connection of the pool
_RUN_SECONDS = 5.0  # for everything in one call of `run`


class DatabaseUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault
    """Postgres cannot be asked now; the message says why, without host and password."""


class AnswerLost(DatabaseUnavailable):
    """The connection broke under the work; Postgres is there, but whether it did it is unknown."""


class _ConnectionLostError(Exception):
    """The connection broke under the work; whether the server did it is unknown."""


class _Pool(ConnectionPool[Connection]):
    """A pool that a forked child may forget: its threads and sockets are the parent's."""

    _owner = 0

    def _open(self) -> None:
        self._owner = os.getpid()
        super()._open()

    def __del__(self) -> None:
        if self._owner == os.getpid():
            super().__del__()


@dataclass
class _State:
    """What belongs to one process and must not cross a fork."""

    lock: threading.Lock = field(default_factory=threading.Lock)  # held by who opens or heals
    pool: _Pool | None = None
    prepared: bool = False
    answered_at: float = 0.0  # monotonic seconds: the server was well then
    # The breaker: while `away` says why, nobody waits for Postgres before `retry_at`.
    away: str | None = None
    away_since: float = 0.0
    retry_at: float = 0.0


class Database(PerProcess[_State]):
    """Runs work on pooled connections; away is an answer (DatabaseUnavailable), never a wait.

    `prepare` gets the first connection of the process, before any other is handed out. A fork
    leaves the parent's pool to the parent. All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        url: str | None,
        pool_max: int = 5,
        prepare: Callable[[Connection], None] | None = None,
    ):
        super().__init__(_State)
        self._url = url
        self._pool_max = pool_max
        self._prepare = prepare

    def run(
        self,
        work: Callable[[Connection], T],
        *,
        retry: bool = False,
        seconds: float = _RUN_SECONDS,
    ) -> T:
        """What `work` returns, called with an autocommit connection; raises DatabaseUnavailable.

        With `retry`, work whose connection broke is called once more with a new one: only for work
        that may be done twice, because the first attempt may have been carried out unanswered.
        Without, it raises AnswerLost, and the caller can look what became of it.
        """
        deadline = monotonic() + seconds
        pool = self._opened(deadline)
        try:
            return self._attempt(pool, work, deadline)
        except _ConnectionLostError as lost:
            self._heal(pool, deadline - monotonic())
            if not retry:
                raise AnswerLost(str(lost)) from lost
        try:
            return self._attempt(self._opened(deadline), work, deadline)
        except _ConnectionLostError as lost:
            raise AnswerLost(str(lost)) from lost

    def close(self) -> None:
        """Closes this process's pool, if it has one; the next use opens another.

        A pool that the interpreter finds open at its end waits up to 5 s for each of its threads.
        """
        pool, self._state.pool = self._state.pool, None
        if pool is not None:
            pool.close()

    def _attempt(self, pool: _Pool, work: Callable[[Connection], T], deadline: float) -> T:
        try:
            connection = pool.getconn(timeout=min(_POOL_SECONDS, deadline - monotonic()))
        except PoolClosed as error:
            raise _ConnectionLostError("the connections were given up") from error
        except PoolTimeout as error:
            # All busy, or all gone and none to be had. When nobody got an answer while we waited,
            # asking the server tells; otherwise it has enough to do.
            if monotonic() - self._state.answered_at > _POOL_SECONDS:
                self._heal(pool, 0.0)
            raise DatabaseUnavailable("no connection became free in time") from error
        began = monotonic()
        connection.deadline = deadline
        try:
            result = work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not connection.closed:
                if isinstance(error, psycopg.InterfaceError):
                    raise  # wrong use of the library: a fault of ours
                raise DatabaseUnavailable(reason(error)) from error
            if monotonic() >= deadline:
                # The server ends slow statements itself, sooner. When nobody else got an answer
                # either, it is frozen, or cut off.
                if self._state.answered_at < began:
                    self._trip(pool, "no answer in time")
                raise DatabaseUnavailable("no answer in time") from error
            raise _ConnectionLostError(reason(error)) from error
        finally:
            connection.deadline = None
            pool.putconn(connection)
        self._state.answered_at = monotonic()
        return result

    def _opened(self, deadline: float) -> _Pool:
        """The pool, opened when there is none and the breaker lets anybody try."""
        state = self._state
        pool = state.pool
        if pool is not None:
            return pool
        if self._url is None:
            raise DatabaseUnavailable("DATABASE_URL is not set")
        self._check_breaker()
        # At first all wait for the one who opens. In an outage one asks, and the others are told.
        with self._turn(0.0 if state.away else deadline - monotonic()):
            if state.pool is not None:
                return state.pool
            self._check_breaker()
            # A connection of our own first: unlike a pool it says at once that the server is away,
            # and why, and a pool that does not exist does not log its attempts.
            self._ask(None)
            pool = self._new_pool(self._url)
            try:
                # Without waiting for the first connection the first caller would ask for a second.
                pool.open(wait=True, timeout=_POOL_SECONDS)
            except PoolTimeout as error:
                self._trip(None, "no connection in time")
                raise DatabaseUnavailable("no connection in time") from error
            state.pool = pool
            return pool

    def _new_pool(self, url: str) -> _Pool:
        return _Pool(
            url,
            connection_class=Connection,
            kwargs={"autocommit": True, **libpq_parameters(url)},
            configure=limit_statements,
            min_size=1,
            max_size=self._pool_max,
            timeout=_POOL_SECONDS,
            reconnect_timeout=5,
            name="postgres",
            open=False,
        )

    def _heal(self, pool: _Pool, patience: float) -> None:
        """Replaces stale connections; raises DatabaseUnavailable when the server is away.

        `patience` is how long, in seconds, to wait for another thread that is healing.
        """
        with self._turn(patience):
            if self._state.pool is pool:
                self._ask(pool)
                pool.check()

    def _ask(self, pool: _Pool | None) -> None:
        """Connects once, and prepares what is not prepared; the lock is held."""
        assert self._url is not None  # noqa: S101 - for mypy: callers checked
        state = self._state
        try:
            with Connection.open(self._url) as connection:
                if self._prepare is not None and not state.prepared:
                    self._prepare(connection)
                state.prepared = True
        except psycopg.Error as error:
            self._trip(pool, reason(error))
            raise DatabaseUnavailable(reason(error)) from error
        except DatabaseUnavailable as error:
            self._trip(pool, str(error))
            raise
        if state.away is not None:
            log.info(
                "Postgres is back after %.1f s",
                monotonic() - state.away_since,
                extra={"event": "database.back"},
            )
            state.away = None

    def _trip(self, pool: _Pool | None, why: str) -> None:
        """Opens the breaker, and gives up the pool: what it would try, the breaker now rations."""
        state = self._state
        if state.pool is not pool:
            return  # somebody was faster
        state.pool = None
        if pool is not None:
            # Closing waits for the pool's threads, one of which may be connecting: not our wait.
            threading.Thread(target=pool.close, name="postgres-close", daemon=True).start()
        if state.away is None:
            state.away_since = monotonic()
        if state.away != why:  # once an outage, not once a request
            log.warning("Postgres is away: %s", why, extra={"event": "database.away"})
        state.away = why
        state.retry_at = monotonic() + RETRY_AFTER

    def _check_breaker(self) -> None:
        if self._state.away is not None and monotonic() < self._state.retry_at:
            raise DatabaseUnavailable(self._state.away)

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        state = self._state
        if not state.lock.acquire(timeout=max(0.0, seconds)):
            raise DatabaseUnavailable(state.away or "no answer in time")
        try:
            yield
        finally:
            state.lock.release()
