"""Events in the outbox: many at once, and which of them are next."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from app.db import Connection, migrations
from app.events import Envelope, EnvelopeError, outbox
from tests.app.conftest import Sql


def event(**change: Any) -> Envelope:
    fields: dict[str, Any] = {
        "event_id": uuid.uuid4(),
        "type": "PURCHASE_CONFIRMED",
        "version": 1,
        "correlation_id": uuid.uuid4(),
        "occurred_at": datetime.now(UTC),
        "payload": {"student_id": "s-7", "nested": {"zero": 0, "text": 'ünï \\ " \n 🦉'}},
    }
    return Envelope(**fields | change)


def events(count: int, **change: Any) -> list[Envelope]:
    return [event(**change) for _ in range(count)]


def migrated(url: str) -> str:
    with Connection.open(url) as connection:
        migrations.apply(connection, migrations.read())
    return url


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with Connection.open(migrated(database_url)) as connection:
        yield connection


def stored(sql: Sql) -> list[Envelope]:
    names = [field.name for field in dataclasses.fields(Envelope)]
    rows = sql(f"SELECT {', '.join(names)} FROM outbox ORDER BY id")  # noqa: S608
    return [Envelope(**dict(zip(names, row, strict=True))) for row in rows]


def test_many_events_are_written_in_their_order(connection: Connection, sql: Sql) -> None:
    first = event()
    written = [
        first,
        event(causation_id=first.event_id, version=2**31 - 1, payload={}),
        event(occurred_at=datetime(2001, 2, 3, 4, 5, 6, 7, timezone(timedelta(hours=-5)))),
        event(type="TRAINER_ALLOCATED", payload={"list": [None, True, 1.5, "é", {"a": []}]}),
        *events(1000),
    ]
    outbox.append_many(connection, written)
    assert stored(sql) == written


def test_they_are_one_statement_and_none_where_there_are_none(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def record(cursor: Any, query: Any, *rest: Any, **options: Any) -> Any:
        sent.append(query)
        return execute(cursor, query, *rest, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", record)
    outbox.append_many(connection, [])
    assert sent == []
    outbox.append_many(connection, events(3))
    assert len(sent) == 1


def test_many_events_are_part_of_the_callers_transaction(connection: Connection, sql: Sql) -> None:
    with connection.transaction(force_rollback=True):
        outbox.append_many(connection, events(2))
    assert stored(sql) == []
    with connection.cursor() as cursor, connection.transaction():
        outbox.append_many(cursor, events(2))
    assert len(stored(sql)) == 2


def test_one_event_that_is_there_already_refuses_all(connection: Connection, sql: Sql) -> None:
    known = event()
    outbox.append(connection, known)
    for refused in ([event(), known], [twice := event(), twice]):
        with pytest.raises(psycopg.errors.UniqueViolation):
            outbox.append_many(connection, refused)
    assert stored(sql) == [known]


def test_those_that_wait_come_in_their_order_as_the_bus_wants_them(
    connection: Connection, sql: Sql
) -> None:
    written = [event(causation_id=uuid.uuid4()), *events(4), event(type="PURCHASE_CREATED")]
    outbox.append_many(connection, written)
    with connection.transaction():
        first = outbox.unpublished(connection, 4)
        outbox.published(connection, list(first))
    rest = outbox.unpublished(connection, 100)
    assert [*first, *rest] == [row[0] for row in sql("SELECT id FROM outbox ORDER BY id")]
    outgoing = [*first.values(), *rest.values()]
    assert [Envelope.from_json(each.value) for each in outgoing] == written
    assert [each.value for each in outgoing] == [e.as_json().encode() for e in stored(sql)]
    assert [each.key for each in outgoing] == [str(e.correlation_id) for e in written]
    assert [each.topic for each in outgoing] == ["purchase-confirmed"] * 5 + ["purchase-created"]
    assert sql("SELECT published_at IS NOT NULL FROM outbox ORDER BY id") == (
        [(True,)] * 4 + [(False,)] * 2
    )


def test_events_of_a_type_without_a_topic_wait_on(connection: Connection) -> None:
    unknown = events(3, type="SOMETHING_ELSE")
    outbox.append_many(connection, [*unknown, known := event()])
    (found,) = outbox.unpublished(connection, 2).values()
    assert Envelope.from_json(found.value) == known


def test_what_one_transaction_holds_another_does_not_get(
    connection: Connection, database_url: str
) -> None:
    outbox.append_many(connection, events(3))
    with Connection.open(database_url) as other, connection.transaction():
        held = outbox.unpublished(connection, 2)
        outbox.append(other, event())  # nobody who writes waits
        free = outbox.unpublished(other, 100)
        assert len(held) == 2
        assert len(free) == 2
        assert held.keys().isdisjoint(free)


def test_a_row_that_is_no_event_is_published_for_its_readers_to_refuse(
    connection: Connection, sql: Sql
) -> None:
    sql(
        "INSERT INTO outbox (event_id, type, version, correlation_id, occurred_at, payload)"
        " VALUES (gen_random_uuid(), 'PURCHASE_CONFIRMED', 1, gen_random_uuid(), now(), '[1]'),"
        " (gen_random_uuid(), 'PURCHASE_CONFIRMED', 1, gen_random_uuid(), now(), 'null')"
    )
    outbox.append(connection, good := event())
    first, second, third = outbox.unpublished(connection, 10).values()
    assert json.loads(first.value)["payload"] == [1]
    for bad in (first, second):
        with pytest.raises(EnvelopeError, match="payload"):
            Envelope.from_json(bad.value)
    assert Envelope.from_json(third.value) == good
