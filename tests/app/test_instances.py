"""What consumers have done is counted, also when they are gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.db import Connection, migrations
from app.events import instances
from app.events.instances import Counts, Instance


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with Connection.open(database_url) as connection:
        migrations.apply(connection, migrations.read())
        yield connection


def total(connection: Connection) -> list[tuple[object, ...]]:
    query = "SELECT consumer, processed, redelivered FROM consumer_total ORDER BY consumer"
    return connection.execute(query).fetchall()


def test_counts_add_up_and_pass_to_the_total_when_an_instance_leaves(
    connection: Connection,
) -> None:
    for processed in (3, 4):
        instance = Instance(consumer="purchase")
        instance.beat(connection, state="running", detail="", per_second=0.0)
        for _ in range(2):
            instance.count(connection, Counts(processed=processed, redelivered=1))
        instance.leave(connection)
    assert total(connection) == [("purchase", 14, 4)]
    assert connection.execute("SELECT FROM consumer_instance").fetchall() == []


def test_a_count_that_is_rolled_back_was_none(connection: Connection) -> None:
    instance = Instance(consumer="purchase")
    with connection.transaction(force_rollback=True):
        instance.count(connection, Counts(processed=3))
    instance.count(connection, Counts(processed=1))
    instance.leave(connection)
    assert total(connection) == [("purchase", 1, 0)]


def test_those_that_were_killed_are_added_up_an_hour_later(connection: Connection) -> None:
    gone, there = Instance(consumer="cache"), Instance(consumer="cache")
    for instance in (gone, there):
        instance.count(connection, Counts(processed=5))
    connection.execute(
        "UPDATE consumer_instance SET seen_at = now() - interval '2 hours' WHERE id = %s",
        (gone.id,),
    )
    instances.fold_gone(connection)
    assert total(connection) == [("cache", 5, 0)]
    gone.count(connection, Counts(processed=1))  # it was not dead, only cut off
    gone.leave(connection)
    assert total(connection) == [("cache", 6, 0)]
