"""Who consumes, and how much was done: one row a running consumer, counted with its batches.

A count is part of the transaction that it counts: it is exact also when a process is killed.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, field
from uuid import UUID

from app.events.handler import Transaction

GONE_SECONDS = 60  # without a sign of life; a call takes 30 s at most

_COUNT = """
INSERT INTO consumer_instance
    (id, consumer, host, pid, processed, redelivered, retried, dead_lettered)
VALUES (%(id)s, %(consumer)s, %(host)s, %(pid)s,
    %(processed)s, %(redelivered)s, %(retried)s, %(dead_lettered)s)
ON CONFLICT (id) DO UPDATE SET
    processed = consumer_instance.processed + excluded.processed,
    redelivered = consumer_instance.redelivered + excluded.redelivered,
    retried = consumer_instance.retried + excluded.retried,
    dead_lettered = consumer_instance.dead_lettered + excluded.dead_lettered,
    seen_at = now()
"""

_BEAT = """
INSERT INTO consumer_instance (id, consumer, host, pid, state, detail, per_second)
VALUES (%(id)s, %(consumer)s, %(host)s, %(pid)s, %(state)s, %(detail)s, %(per_second)s)
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, detail = excluded.detail, per_second = excluded.per_second,
    seen_at = now()
"""

# Each row is added up by whoever deletes it: one.
_FOLD = """
WITH gone AS (
    DELETE FROM consumer_instance
    WHERE {which}
    RETURNING consumer, processed, redelivered, retried, dead_lettered
)
INSERT INTO consumer_total (consumer, processed, redelivered, retried, dead_lettered)
SELECT consumer, sum(processed), sum(redelivered), sum(retried), sum(dead_lettered)
FROM gone GROUP BY consumer ORDER BY consumer
ON CONFLICT (consumer) DO UPDATE SET
    processed = consumer_total.processed + excluded.processed,
    redelivered = consumer_total.redelivered + excluded.redelivered,
    retried = consumer_total.retried + excluded.retried,
    dead_lettered = consumer_total.dead_lettered + excluded.dead_lettered
"""

_FOLD_ONE = _FOLD.format(which="id = %(id)s")
_FOLD_GONE = _FOLD.format(which="seen_at < now() - interval '1 hour'")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What happened to events."""

    processed: int = 0
    redelivered: int = 0  # known to the guard already
    retried: int = 0  # attempts that failed, with another to come
    dead_lettered: int = 0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One consumer of one process."""

    consumer: str
    id: UUID = field(default_factory=uuid.uuid4)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def count(self, connection: Transaction, counts: Counts) -> None:
        """Adds to what it has done, within the caller's transaction."""
        connection.execute(_COUNT, vars(self) | vars(counts))

    def beat(self, connection: Transaction, *, state: str, detail: str, per_second: float) -> None:
        """Shows that it is there, and how it is: `running`, or `paused` with the reason."""
        facts = {"state": state, "detail": detail, "per_second": per_second}
        connection.execute(_BEAT, vars(self) | facts)

    def leave(self, connection: Transaction) -> None:
        """It is gone, and its counts are added to the total."""
        connection.execute(_FOLD_ONE, {"id": self.id})


def fold_gone(connection: Transaction) -> None:
    """Adds up the counts of those that were killed; one that lives after all begins a new row."""
    connection.execute(_FOLD_GONE)
