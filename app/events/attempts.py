"""The attempts that events have spent: they outlive a process, and count wherever it comes next."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.events.handler import Transaction

_SPEND = """
INSERT INTO event_failure (consumer, event_id, attempts, last_error)
VALUES (%(consumer)s, %(event_id)s, 1, %(error)s)
ON CONFLICT (consumer, event_id) DO UPDATE SET
    attempts = event_failure.attempts + 1, last_error = excluded.last_error, failed_at = now()
RETURNING attempts
"""

_FORGET = "DELETE FROM event_failure WHERE consumer = %s AND event_id = ANY(%s)"

_FORGET_ALL = "DELETE FROM event_failure WHERE consumer = %s"


def spend(connection: Transaction, consumer: str, event_id: UUID, error: str) -> int:
    """How many the event has spent, with this one."""
    parameters = {"consumer": consumer, "event_id": event_id, "error": error}
    row = connection.execute(_SPEND, parameters).fetchone()
    assert row is not None  # noqa: S101 - an upsert returns its row
    return int(row[0])


def forget(connection: Transaction, consumer: str, event_ids: Sequence[UUID]) -> None:
    """These have none behind them: done, or given up."""
    if event_ids:
        connection.execute(_FORGET, (consumer, list(event_ids)))


def forget_all(connection: Transaction, consumer: str) -> None:
    """A replay begins: each event has all its attempts again."""
    connection.execute(_FORGET_ALL, (consumer,))
