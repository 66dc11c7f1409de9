"""How the consumers stand: who works, what was done, what waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic

from psycopg.rows import dict_row

from app.db import Connection
from app.db.connection import limit_statements
from app.events.bus import Bus, BusRefused, BusUnavailable, Lag
from app.events.handler import Transaction
from app.events.instances import GONE_SECONDS

_DATABASE_SECONDS = 4.0

# In one statement, at one moment: what an instance that leaves adds to the total is counted once.
_CONSUMERS = """
WITH counted AS (
    SELECT consumer, processed, redelivered, retried, dead_lettered FROM consumer_instance
    UNION ALL
    SELECT consumer, processed, redelivered, retried, dead_lettered FROM consumer_total
), done AS (
    SELECT consumer, sum(processed)::bigint AS processed, sum(redelivered)::bigint AS redelivered,
        sum(retried)::bigint AS retried, sum(dead_lettered)::bigint AS dead_lettered
    FROM counted GROUP BY consumer
), live AS (
    SELECT consumer, count(*) AS instances, bool_and(state = 'paused') AS paused,
        max(detail) AS detail, sum(per_second) AS per_second
    FROM consumer_instance
    WHERE seen_at > now() - make_interval(secs => %(gone)s)
    GROUP BY consumer
), dead AS (
    SELECT consumer, count(*) AS letters FROM dead_letter
    WHERE redriven_at IS NULL
    GROUP BY consumer
)
SELECT consumer, coalesce(instances, 0) AS instances,
    CASE WHEN paused THEN 'paused' WHEN instances > 0 THEN 'running' ELSE 'stopped' END AS state,
    CASE WHEN paused THEN detail ELSE '' END AS detail, coalesce(per_second, 0) AS per_second,
    coalesce(processed, 0) AS processed, coalesce(redelivered, 0) AS redelivered,
    coalesce(retried, 0) AS retried, coalesce(dead_lettered, 0) AS dead_lettered,
    coalesce(letters, 0) AS dead_letters_waiting
FROM unnest(%(consumers)s::text[]) WITH ORDINALITY AS asked (consumer, place)
LEFT JOIN done USING (consumer) LEFT JOIN live USING (consumer) LEFT JOIN dead USING (consumer)
ORDER BY place
"""

# Published in the order of their ids: the first has waited longest. Both by outbox_unpublished.
_OUTBOX = """
SELECT (SELECT count(*) FROM outbox WHERE published_at IS NULL),
    (SELECT greatest(0, extract(epoch FROM now() - occurred_at))::float8
     FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1)
"""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A consumer that is asked for."""

    consumer: str
    group: str
    topic: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One consumer, all its instances together."""

    consumer: str
    group: str
    topic: str
    instances: int  # seen of late
    state: str  # running; paused when all instances are; stopped when there is none
    detail: str  # why it is paused
    lag: int | None  # messages on the bus; None: the bus could not be asked
    per_second: float  # events, of late
    processed: int  # this and the next three: since ever
    redelivered: int
    retried: int
    dead_lettered: int
    dead_letters_waiting: int  # not redriven


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """Events that are not on the bus yet."""

    waiting: int
    oldest_s: float | None  # how long ago the oldest happened, in seconds; None: none waits


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of it."""

    bus: str  # postgres or kafka
    consumers: Sequence[Standing]
    outbox: Outbox
    error: str | None  # why the bus could not be asked


class Observer:
    """Reads how the subjects stand; `read` may be called from any thread.

    `patience` is how long, in seconds, the bus may think; without its answer the rest is told.
    """

    def __init__(self, *, url: str, bus: Bus, subjects: Sequence[Subject], patience: float):
        self._patience = patience
        self._url = url
        self._bus = bus
        self._subjects = subjects
        self._lock = threading.Lock()
        self._asked: Future[list[Lag]] | None = None

    def read(self) -> Report:
        """How they stand now; raises psycopg.Error. A bus that does not answer is only noted."""
        deadline = monotonic() + self._patience
        asked = self._ask()
        with Connection.open(self._url) as connection:
            limit_statements(connection)
            with connection.until(monotonic() + _DATABASE_SECONDS):
                names = [subject.consumer for subject in self._subjects]
                parameters = {"consumers": names, "gone": GONE_SECONDS}
                cursor = connection.cursor(row_factory=dict_row)
                rows = cursor.execute(_CONSUMERS, parameters).fetchall()
                waiting = outbox(connection)
        lags, error = self._answer(asked, deadline)
        consumers = [
            Standing(**vars(subject) | row, lag=lags.get(subject.group))
            for subject, row in zip(self._subjects, rows, strict=True)
        ]
        return Report(bus=self._bus.name, consumers=consumers, outbox=waiting, error=error)

    def close(self) -> None:
        """Closes the bus, but for one that owes an answer: it would be waited for."""
        if self._asked is None or self._asked.done():
            self._bus.close()

    def _ask(self) -> Future[list[Lag]]:
        """The bus's answer; while one is due, nobody asks again."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                # The process ends without waiting for it.
                threading.Thread(target=self._lags, args=(self._asked,), daemon=True).start()
            return self._asked

    def _lags(self, asked: Future[list[Lag]]) -> None:
        try:
            asked.set_result(self._bus.lags({s.group: s.topic for s in self._subjects}))
        except Exception as error:
            asked.set_exception(error)

    def _answer(
        self, asked: Future[list[Lag]], deadline: float
    ) -> tuple[dict[str, int], str | None]:
        """Messages by group, or why there are none."""
        try:
            lags = asked.result(max(0.0, deadline - monotonic()))
        except TimeoutError:
            return {}, f"no answer from the bus within {self._patience:g} s"
        except (BusUnavailable, BusRefused) as error:
            return {}, str(error)
        return {lag.group: lag.waiting for lag in lags}, None


def outbox(connection: Transaction) -> Outbox:
    """What waits to be published; raises psycopg.Error."""
    row = connection.execute(_OUTBOX).fetchone()
    assert row is not None  # noqa: S101 - a count is a row
    return Outbox(waiting=row[0], oldest_s=row[1])
