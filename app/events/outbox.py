"""Events written in the transaction in which they happened, to be published from there."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from app.events.bus import Outgoing
from app.events.envelope import Envelope, EnvelopeError
from app.events.topics import TOPICS

# In two parts, so that a statement can write its rows and their event at once:
# `WITH … {INSERT} SELECT {VALUES} FROM …`, with `parameters(envelope)`.
INSERT = """INSERT INTO outbox
    (event_id, type, version, correlation_id, causation_id, occurred_at, payload)"""

VALUES = """%(event_id)s, %(type)s, %(version)s,
    %(correlation_id)s, %(causation_id)s, %(occurred_at)s, %(payload)s"""

_APPEND = f"{INSERT} VALUES ({VALUES})"

_APPEND_MANY = f"""{INSERT}
SELECT * FROM unnest(%(event_id)s::uuid[], %(type)s::text[], %(version)s::integer[],
    %(correlation_id)s::uuid[], %(causation_id)s::uuid[], %(occurred_at)s::timestamptz[],
    %(payload)s::jsonb[])
"""  # noqa: S608 - of constants

# The rows are held until the caller's transaction ends, and those that another one holds are left
# out. Nobody who writes an event waits for it: a new row is nobody else's.
_UNPUBLISHED = """
SELECT id, event_id, type, version, correlation_id, causation_id, occurred_at, payload
FROM outbox
WHERE published_at IS NULL AND type = ANY(%(types)s) AND NOT id = ANY(%(without)s)
ORDER BY id
LIMIT %(most)s
FOR UPDATE SKIP LOCKED
"""

_PUBLISHED = "UPDATE outbox SET published_at = now() WHERE id = ANY(%(ids)s)"


def append(connection: psycopg.Connection[Any] | psycopg.Cursor[Any], envelope: Envelope) -> None:
    """Writes the event within the caller's transaction; it is published if that one commits.

    An event that is there already is refused by psycopg's UniqueViolation: who may be called twice
    guards the whole transaction.
    """
    connection.execute(_APPEND, parameters(envelope))


def append_many(
    connection: psycopg.Connection[Any] | psycopg.Cursor[Any], envelopes: Sequence[Envelope]
) -> None:
    """As `append`, with one statement for all of them, and none when there are none."""
    if envelopes:
        rows = [parameters(envelope) for envelope in envelopes]
        connection.execute(_APPEND_MANY, {name: [row[name] for row in rows] for name in rows[0]})


def unpublished(
    connection: psycopg.Connection[Any],
    most: int,
    *,
    types: Collection[str] = tuple(TOPICS),
    without: Collection[int] = (),
) -> dict[int, Outgoing]:
    """Up to `most` events that wait, in their order, by the id of their row.

    Nobody else gets them before the caller's transaction ends. Those of other `types` wait on, and
    so do the rows `without`.
    """
    # Binary: ids and times come as they are, not as text to be parsed.
    with connection.cursor(binary=True, row_factory=dict_row) as cursor:
        asked = {"types": list(types), "without": list(without), "most": most}
        rows = cursor.execute(_UNPUBLISHED, asked).fetchall()
    return {row.pop("id"): _outgoing(row) for row in rows}


def published(connection: psycopg.Connection[Any], ids: Sequence[int]) -> None:
    """Notes that these are on the bus."""
    connection.execute(_PUBLISHED, {"ids": list(ids)})


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


def _outgoing(fields: dict[str, Any]) -> Outgoing:
    try:
        text = Envelope(**fields).as_json()
    except EnvelopeError:
        # Not written by `append`. Kept back it would be in nobody's sight, in front of all others;
        # on the bus it is a dead letter.
        text = json.dumps(fields, default=str)
    key = str(fields["correlation_id"])
    return Outgoing(topic=TOPICS[fields["type"]], key=key, value=text.encode())
