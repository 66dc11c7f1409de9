"""Events written in the transaction in which they happened, to be published from there."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from app.events.envelope import Envelope

# In two parts, so that a statement can write its rows and their event at once:
# `WITH … {INSERT} SELECT {VALUES} FROM …`, with `parameters(envelope)`.
INSERT = """INSERT INTO outbox
    (event_id, type, version, correlation_id, causation_id, occurred_at, payload)"""

VALUES = """%(event_id)s, %(type)s, %(version)s,
    %(correlation_id)s, %(causation_id)s, %(occurred_at)s, %(payload)s"""

_APPEND = f"{INSERT} VALUES ({VALUES})"


def append(connection: psycopg.Connection[Any] | psycopg.Cursor[Any], envelope: Envelope) -> None:
    """Writes the event within the caller's transaction; it is published if that one commits.

    An event that is there already is refused by psycopg's UniqueViolation: who may be called twice
    guards the whole transaction.
    """
    connection.execute(_APPEND, parameters(envelope))


def parameters(envelope: Envelope) -> dict[str, Any]:
    """What VALUES asks for."""
    return {
        "event_id": envelope.event_id,
        "type": envelope.type,
        "version": envelope.version,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "occurred_at": envelope.occurred_at,
        "payload": Jsonb(envelope.payload),
    }
