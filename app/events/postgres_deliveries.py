"""What a group has still to do, as rows: who joins, takes, keeps, gives back and finishes.

Each function is one statement, a join up to four; they raise psycopg.Error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from time import monotonic

from app.db import Connection
from app.events.bus import ONLY_GROUP, Message

CHANNEL = "smart_factory_events"  # a notification names the group that has something to do
_JOIN_SECONDS = 60  # a new group gets all that the log keeps, once

_MISSING = """
SELECT topic FROM unnest(%(topics)s::text[]) AS wanted (topic)
WHERE NOT EXISTS (
    SELECT FROM event_subscription AS s WHERE s.group_name = %(group)s AND s.topic = wanted.topic
)
"""

# A message is in the log for _JOIN to see, or else its publisher, which holds the lock too, sees
# the subscription: each reads in a statement that begins after its lock's.
LOCK_TO_PUBLISH = "SELECT pg_advisory_xact_lock_shared(hashtextextended('smart-factory.events', 0))"
_LOCK_TO_JOIN = "SELECT pg_advisory_xact_lock(hashtextextended('smart-factory.events', 0))"

_JOIN = f"""
WITH joined AS (
    INSERT INTO event_subscription (group_name, topic)
    SELECT %(group)s, topic FROM unnest(%(topics)s::text[]) AS wanted (topic)
    ON CONFLICT DO NOTHING
    RETURNING topic
)
INSERT INTO event_delivery (group_name, log_id)
SELECT %(group)s, id FROM event_log JOIN joined USING (topic)
WHERE coalesce(headers->>'{ONLY_GROUP}', %(group)s) = %(group)s
ON CONFLICT DO NOTHING
"""  # noqa: S608 - of constants

# Rows that another member is just taking are left to it, without waiting. All get one leased_until,
# later than whatever was there: by it a member knows its own lease.
_CLAIM = """
WITH free AS MATERIALIZED (
    SELECT log_id FROM event_delivery
    WHERE group_name = %(group)s AND leased_until < clock_timestamp()
    ORDER BY log_id
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
), lease AS MATERIALIZED (
    SELECT clock_timestamp() + make_interval(secs => %(seconds)s) AS until
), claimed AS (
    UPDATE event_delivery AS d SET leased_until = lease.until
    FROM free, lease
    WHERE d.group_name = %(group)s AND d.log_id = free.log_id
    RETURNING d.log_id, d.leased_until
)
SELECT log_id, leased_until, topic, message_key, message, headers
FROM claimed LEFT JOIN event_log ON id = log_id
ORDER BY log_id
"""

# What nobody took meanwhile; a row that is locked is just being taken. The ids stand there twice:
# by the array the index is used, however many rows the table has.
_HELD = """
WITH held AS MATERIALIZED (
    SELECT d.log_id
    FROM event_delivery AS d
    JOIN unnest(%(ids)s::bigint[], %(untils)s::timestamptz[]) AS mine (log_id, leased_until)
        USING (log_id, leased_until)
    WHERE d.group_name = %(group)s AND d.log_id = ANY(%(ids)s)
    FOR UPDATE OF d SKIP LOCKED
)"""

_RENEW = f"""
{_HELD}, lease AS MATERIALIZED (
    SELECT clock_timestamp() + make_interval(secs => %(seconds)s) AS until
)
UPDATE event_delivery AS d SET leased_until = lease.until
FROM held, lease
WHERE d.group_name = %(group)s AND d.log_id = held.log_id AND d.log_id = ANY(%(ids)s)
RETURNING d.log_id, d.leased_until
"""  # noqa: S608 - of constants

_RELEASE = f"""
{_HELD}, released AS (
    UPDATE event_delivery AS d SET leased_until = '-infinity'
    FROM held
    WHERE d.group_name = %(group)s AND d.log_id = held.log_id AND d.log_id = ANY(%(ids)s)
    RETURNING d.group_name
)
SELECT pg_notify('{CHANNEL}', group_name) FROM released LIMIT 1
"""  # noqa: S608 - of constants

_DELETE = "DELETE FROM event_delivery WHERE group_name = %(group)s AND log_id = ANY(%(ids)s)"


def join(connection: Connection, group: str, topics: Sequence[str]) -> None:
    """Subscribes the group to those topics that are new to it, with all that the log keeps."""
    parameters = {"group": group, "topics": list(topics)}
    if not connection.ask(_MISSING, parameters).fetchall():
        return
    with connection.until(monotonic() + _JOIN_SECONDS), connection.transaction():
        connection.execute(f"SET LOCAL statement_timeout = '{_JOIN_SECONDS}s'")
        connection.execute(_LOCK_TO_JOIN)
        connection.execute(_JOIN, parameters)


def claim(
    connection: Connection, group: str, most: int, seconds: float
) -> dict[int, tuple[datetime, Message | None]]:
    """Leases up to `most` that nobody holds, oldest first; None for one whose message is gone."""
    rows = connection.ask(_CLAIM, {"group": group, "most": most, "seconds": seconds})
    return {
        log_id: (until, None if topic is None else _message(log_id, topic, *rest))
        for log_id, until, topic, *rest in rows
    }


def renew(
    connection: Connection, group: str, held: Mapping[int, datetime], seconds: float
) -> dict[int, datetime]:
    """Those that are still leased until then, and until when they are now."""
    rows = connection.ask(_RENEW, {"group": group, "seconds": seconds, **_columns(held)})
    return {row[0]: row[1] for row in rows}


def release(connection: Connection, group: str, held: Mapping[int, datetime]) -> None:
    """Gives those back that are still leased until then, and tells the group's members."""
    connection.ask(_RELEASE, {"group": group, **_columns(held)})


def delete(connection: Connection, group: str, ids: Collection[int]) -> None:
    """Nothing is left to do with these, whoever holds them."""
    connection.ask(_DELETE, {"group": group, "ids": sorted(ids)})


def _message(log_id: int, topic: str, key: str, value: bytes, headers: dict[str, str]) -> Message:
    return Message(topic=topic, partition=0, offset=log_id, key=key, value=value, headers=headers)


def _columns(held: Mapping[int, datetime]) -> dict[str, object]:
    return {"ids": list(held), "untils": list(held.values())}
