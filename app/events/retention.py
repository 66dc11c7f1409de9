"""How long what events leave behind is kept; dead letters stay."""

from __future__ import annotations

from app.db import Connection
from app.events import instances
from app.events.bus import Bus

_LOG_DAYS = 7  # for replays


def _older(table: str, column: str, *, days: int) -> str:
    # The time once more outside: of a row that is changed meanwhile only that is looked at again.
    old = f"{column} < now() - interval '{days} days'"
    rows = f"SELECT ctid FROM {table} WHERE {old} LIMIT %(most)s"  # noqa: S608 - of constants
    return f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({rows})) AND {old}"  # noqa: S608


_DELETE = (
    _older("outbox", "published_at", days=7),
    _older("processed_events", "processed_at", days=30),
    _older("event_failure", "failed_at", days=30),
)


def prune(connection: Connection, bus: Bus, *, most: int) -> bool:
    """Deletes up to `most` old rows of each kind, and says whether there may be more.

    Raises psycopg.Error, BusUnavailable.
    """
    instances.fold_gone(connection)
    counts = [connection.execute(query, {"most": most}).rowcount for query in _DELETE]
    counts.append(bus.prune(connection, days=_LOG_DAYS, most=most))
    return most in counts
