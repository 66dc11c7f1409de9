"""Publishes what waits in the outbox: one relay at a time, wherever it runs; others stand by."""

from __future__ import annotations

import logging
import random
import threading
from time import monotonic

import psycopg

from app.db import Connection, reason
from app.db.connection import limit_statements
from app.events import retention
from app.events.bus import Bus, BusRefused, BusUnavailable
from app.events.retry import OUTAGE

log = logging.getLogger(__name__)

_BATCH = 500
_POLL_SECONDS = 0.2  # between two looks at the outbox
_STAND_BY_SECONDS = 2.0  # between two attempts to take over
_LAST_SECONDS = 2.0  # for what waits when it is told to stop
_PRUNE_SECONDS = 60.0
_PRUNE_BATCH = 1000  # rows of each kind; between two batches it publishes
_SILENCE_SECONDS = 60.0

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('smart-factory.relay', 0))"

# The lock is the connection's. The server gives up one whose host vanished, or whose process stands
# still: nothing would be published any more.
_SESSION = """
SELECT set_config(name, setting, false) FROM (VALUES
    ('tcp_keepalives_idle', '5'),
    ('tcp_keepalives_interval', '2'),
    ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '10s'),
    ('idle_session_timeout', %(silence)s),
    ('idle_in_transaction_session_timeout', %(silence)s),
    ('plan_cache_mode', 'force_custom_plan')  -- for the outbox as it is: empty, or a million rows
) AS wanted (name, setting)
"""


class Relay:
    """One thread's work; it publishes on the connection that holds the lock, and on no other."""

    def __init__(self, *, url: str, bus: Bus):
        self._url = url
        self._bus = bus
        self._poked = threading.Event()
        self._prune_at = 0.0  # monotonic seconds
        self._failures = 0  # one after the other
        self._away_since = 0.0

    def poke(self) -> None:
        """Something waits in the outbox; may be called from any thread."""
        self._poked.set()

    def run(self, stop: threading.Event) -> None:
        """Publishes or stands by until `stop`, and publishes what waits then; never raises."""
        while not stop.is_set():
            try:
                self._work(stop)
            except Exception as error:
                self._failed(error)
                stop.wait(OUTAGE.pause(self._failures, random.random()))  # noqa: S311 - no secret

    def _work(self, stop: threading.Event) -> None:
        with Connection.open(self._url) as connection:
            limit_statements(connection)
            connection.execute(_SESSION, {"silence": f"{_SILENCE_SECONDS:.0f}s"})
            while not stop.is_set():
                if connection.execute(_LOCK).fetchone() == (True,):
                    self._publish(connection, stop)
                    return
                self._went_well()
                stop.wait(_STAND_BY_SECONDS)

    def _publish(self, connection: Connection, stop: threading.Event) -> None:
        if self._failures == 0:  # in an outage each attempt begins with the lock
            log.info("This process publishes from the outbox", extra={"event": "relay.active"})
        while not stop.is_set():
            self._poked.clear()
            full = self._drain(connection)
            pruning = self._prune(connection)
            if not (full or pruning):
                self._poked.wait(_POLL_SECONDS)
        until = monotonic() + _LAST_SECONDS
        while self._drain(connection) and monotonic() < until:
            pass

    def _drain(self, connection: Connection) -> bool:
        """Publishes a batch, and says whether more may wait."""
        full = self._bus.drain(connection, _BATCH) >= _BATCH
        self._went_well()
        return full

    def _prune(self, connection: Connection) -> bool:
        """Deletes some old rows when it is time to, and says whether there may be more."""
        now = monotonic()
        if now < self._prune_at:
            return False
        self._prune_at = now + _PRUNE_SECONDS
        try:
            more = retention.prune(connection, self._bus, most=_PRUNE_BATCH)
        except psycopg.errors.QueryCanceled as error:  # it took too long: publishing goes before
            log.warning("Old rows stay: %s", reason(error), extra={"event": "relay.not_pruned"})
            return False
        if more:
            self._prune_at = now
        return more

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures > 1:  # once an outage, not once an attempt
            return
        self._away_since = monotonic()
        known = isinstance(error, psycopg.Error | BusUnavailable | BusRefused)
        log.warning(
            "Publishing from the outbox failed: %s",
            reason(error),
            exc_info=None if known else error,
            extra={"event": "relay.away"},
        )

    def _went_well(self) -> None:
        if self._failures == 0:
            return
        self._failures = 0
        seconds = monotonic() - self._away_since
        log.info(
            "Publishing from the outbox goes on after %.1f s",
            seconds,
            extra={"event": "relay.back"},
        )
