"""The bus that needs nothing installed: a log, subscriptions and deliveries in Postgres."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from app.db import Connection, Database, DatabaseUnavailable, reason
from app.events import outbox
from app.events.bus import ONLY_GROUP, BusRefused, BusUnavailable, Lag, Outgoing
from app.events.postgres_deliveries import CHANNEL, LOCK_TO_PUBLISH
from app.events.postgres_subscription import LEASE_SECONDS, PostgresSubscription

T = TypeVar("T")

_CONNECTIONS = 2  # a process: dead letters by one thread, the operator's questions by another
_REPLAY_SECONDS = 60

# After LOCK_TO_PUBLISH, see there.
_PUBLISH = f"""
WITH message AS (
    INSERT INTO event_log (topic, message_key, message, headers)
    SELECT * FROM unnest(
        %(topics)s::text[], %(keys)s::text[], %(values)b::bytea[], %(headers)s::jsonb[]
    )
    RETURNING id, topic, headers
), delivery AS (
    INSERT INTO event_delivery (group_name, log_id)
    SELECT group_name, id FROM message JOIN event_subscription USING (topic)
    WHERE coalesce(headers->>'{ONLY_GROUP}', group_name) = group_name
    RETURNING group_name
)
SELECT pg_notify('{CHANNEL}', group_name) FROM (SELECT DISTINCT group_name FROM delivery) AS told
"""  # noqa: S608 - of constants

# What a replay gives to a group meanwhile is lost with its message; it was about to be.
_PRUNE = """
WITH old AS (
    SELECT id FROM event_log
    WHERE published_at < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT FROM event_delivery WHERE log_id = id)
    LIMIT %(most)s
)
DELETE FROM event_log USING old WHERE event_log.id = old.id
"""

# A group that is not there yet will begin with all that the log keeps.
_LAGS = f"""
SELECT group_name, topic,
    CASE WHEN EXISTS (
        SELECT FROM event_subscription AS s
        WHERE s.group_name = asked.group_name AND s.topic = asked.topic
    ) THEN (
        SELECT count(*) FROM event_delivery AS d WHERE d.group_name = asked.group_name
    ) ELSE (
        SELECT count(*) FROM event_log AS l
        WHERE l.topic = asked.topic
            AND coalesce(l.headers->>'{ONLY_GROUP}', asked.group_name) = asked.group_name
    ) END
FROM unnest(%(groups)s::text[], %(topics)s::text[]) WITH ORDINALITY
    AS asked (group_name, topic, place)
ORDER BY place
"""  # noqa: S608 - of constants

_REPLAY = f"""
WITH delivery AS (
    INSERT INTO event_delivery (group_name, log_id)
    SELECT %(group)s, id FROM event_log
    WHERE topic = %(topic)s
        AND published_at >= coalesce(%(start)s::timestamptz, '-infinity')
        AND coalesce(headers->>'{ONLY_GROUP}', %(group)s) = %(group)s
    ON CONFLICT DO NOTHING
    RETURNING log_id
), counted AS (
    SELECT count(*) AS messages FROM delivery
)
SELECT messages, pg_notify('{CHANNEL}', %(group)s) FROM counted
"""  # noqa: S608 - of constants


class PostgresBus:
    """A Bus, and a subscription for each member; nothing is connected before its first use."""

    name = "postgres"

    def __init__(self, *, url: str, lease: float = LEASE_SECONDS):
        self._url = url
        self._lease = lease  # seconds
        self._database = Database(url=url, pool_max=_CONNECTIONS)

    def subscribe(
        self,
        group: str,
        topics: Sequence[str],
        *,
        settle: Callable[[], None],  # noqa: ARG002 - a message leaves a member by its lease only
    ) -> PostgresSubscription:
        return PostgresSubscription(url=self._url, group=group, topics=topics, lease=self._lease)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        def work(connection: Connection) -> None:
            with connection.transaction():
                _publish(connection, messages)

        if messages:
            self._run(work)

    def drain(self, connection: Connection, most: int) -> int:
        # All in one transaction: here an event is on the bus exactly once.
        with connection.transaction():
            waiting = outbox.unpublished(connection, most)
            if waiting:
                _publish(connection, list(waiting.values()))
                outbox.published(connection, list(waiting))
        return len(waiting)

    def prune(self, connection: Connection, *, days: int, most: int) -> int:
        return connection.execute(_PRUNE, {"days": days, "most": most}).rowcount

    def lags(self, groups: Mapping[str, str]) -> list[Lag]:
        asked = {"groups": list(groups), "topics": list(groups.values())}
        rows = self._run(lambda connection: connection.ask(_LAGS, asked).fetchall(), retry=True)
        return [Lag(group=group, topic=topic, waiting=count) for group, topic, count in rows]

    def replay(self, group: str, topic: str, start: datetime | None) -> int:
        def work(connection: Connection) -> int:
            asked = {"group": group, "topic": topic, "start": start}
            with connection.transaction():
                connection.execute(f"SET LOCAL statement_timeout = '{_REPLAY_SECONDS}s'")
                row = connection.execute(_REPLAY, asked).fetchone()
            assert row is not None  # noqa: S101 - a count is a row
            return int(row[0])

        return self._run(work, seconds=_REPLAY_SECONDS)

    def create_topics(self, *, partitions: int, replicas: int) -> list[str]:  # noqa: ARG002
        return []  # a topic is there when a message names it

    def close(self) -> None:
        self._database.close()

    def _run(self, work: Callable[[Connection], T], **options: Any) -> T:
        try:
            return self._database.run(work, **options)
        except DatabaseUnavailable as error:
            raise BusUnavailable(f"Postgres is away: {error}") from error
        except psycopg.DataError as error:
            raise BusRefused(f"Postgres refused: {reason(error)}") from error
        except psycopg.Error as error:
            raise BusUnavailable(f"Postgres refused: {reason(error)}") from error


def _publish(connection: Connection, messages: Sequence[Outgoing]) -> None:
    """Within the caller's transaction."""
    connection.execute(LOCK_TO_PUBLISH)
    connection.execute(
        _PUBLISH,
        {
            "topics": [_text(message.topic) for message in messages],
            "keys": [_text(message.key) for message in messages],
            "values": [message.value for message in messages],
            "headers": [
                Jsonb({_text(name): _text(value) for name, value in message.headers.items()})
                for message in messages
            ],
        },
    )


def _text(text: str) -> str:
    """What Postgres can keep of it: a dead letter's error may quote anything, and must get through.

    The message itself is bytes, and kept as it is.
    """
    return text.replace("\0", "�").encode(errors="replace").decode()
