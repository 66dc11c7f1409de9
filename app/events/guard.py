"""Who has carried out which event: the table that makes a second delivery harmless."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from app.events.envelope import Envelope
from app.events.handler import Transaction

# In the order of the ids: two instances that got the same events wait for each other, and not both.
# Who waits inserts nothing once the other has committed.
_ENTER = """
INSERT INTO processed_events (consumer, event_id, correlation_id)
SELECT %(consumer)s, event_id, correlation_id
FROM unnest(%(event_ids)s::uuid[], %(correlation_ids)s::uuid[]) AS e (event_id, correlation_id)
ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING event_id
"""

_KNOWN = """
SELECT event_id FROM processed_events
WHERE consumer = %(consumer)s AND event_id = ANY(%(event_ids)s)
"""


def enter(connection: Transaction, consumer: str, events: Sequence[Envelope]) -> set[UUID]:
    """The ids of those that nobody has carried out; they count as done when the caller commits."""
    parameters = {
        "consumer": consumer,
        "event_ids": [event.event_id for event in events],
        "correlation_ids": [event.correlation_id for event in events],
    }
    return {row[0] for row in connection.execute(_ENTER, parameters)}


def known(connection: Transaction, consumer: str, events: Iterable[Envelope]) -> set[UUID]:
    """The ids of those that were carried out."""
    parameters = {"consumer": consumer, "event_ids": [event.event_id for event in events]}
    return {row[0] for row in connection.execute(_KNOWN, parameters)}
