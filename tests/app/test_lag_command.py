"""`python -m app.consumers lag` and `topics create`, as an operator runs them."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from app.db import Connection
from app.events import outbox
from tests.app.conftest import Sql
from tests.app.consumers_command import AWAY, command, event, migrate, publish, subscribe


@pytest.fixture
def url(database_url: str) -> str:
    return migrate(database_url)


def test_lag_counts_what_each_consumer_has_still_to_do(url: str) -> None:
    publish(url, "purchase-confirmed", b"1", b"2", b"3")
    publish(url, "purchase-created", b"1")
    with closing(subscribe(url, "cache-invalidation-workers", "purchase-created")):
        publish(url, "purchase-created", b"2")
    done = command("lag", "--json", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    places = [tuple(each.values()) for each in json.loads(done.stdout)["consumers"]]
    assert places == [
        ("purchase", "purchase-creation-workers", "purchase-confirmed", 3),
        ("allocation", "trainer-allocation-workers", "purchase-created", 2),
        ("session", "session-scheduling-workers", "trainer-allocated", 0),
        ("cache", "cache-invalidation-workers", "purchase-created", 2),
    ]
    rows = [line.split() for line in command("lag", url=url).stdout.splitlines()]
    assert rows[0] == ["consumer", "group", "topic", "waiting"]
    assert rows[1] == ["purchase", "purchase-creation-workers", "purchase-confirmed", "3"]


def test_lag_tells_what_waits_in_the_outbox_and_since_when(url: str, sql: Sql) -> None:
    assert command("lag", url=url).stdout.endswith("outbox: nothing waits\n")
    facts = json.loads(command("lag", "--json", url=url).stdout)
    assert facts["outbox"] == {"waiting": 0, "oldest_s": None}
    with Connection.open(url) as connection:
        for _ in range(3):
            outbox.append(connection, event())
    sql("UPDATE outbox SET occurred_at = now() - interval '1 h'")
    sql(
        """
        UPDATE outbox SET published_at = now(), occurred_at = now() - interval '9 h'
        WHERE id = (SELECT min(id) FROM outbox)
        """
    )
    facts = json.loads(command("lag", "--json", url=url).stdout)
    assert facts["outbox"]["waiting"] == 2
    assert 3600 <= facts["outbox"]["oldest_s"] < 7200
    assert "outbox: 2 waiting, the oldest for " in command("lag", url=url).stdout


def test_an_event_from_the_future_has_waited_no_time(url: str, sql: Sql) -> None:
    with Connection.open(url) as connection:
        outbox.append(connection, event())
    sql("UPDATE outbox SET occurred_at = now() + interval '1 h'")
    facts = json.loads(command("lag", "--json", url=url).stdout)
    assert facts["outbox"] == {"waiting": 1, "oldest_s": 0.0}


def test_a_bus_that_is_away_is_one_line_and_exit_1(url: str, sql: Sql) -> None:
    sql("ALTER TABLE event_subscription RENAME TO elsewhere")
    done = command("lag", url=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Postgres refused: relation")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_one_line_and_exit_1() -> None:
    done = command("lag", url=AWAY)
    assert done.returncode == 1
    assert done.stderr == "Error: Postgres is away: cannot connect: Connection refused\n"


def test_postgres_needs_no_topics() -> None:
    done = command("topics", "create", url=AWAY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the Postgres bus needs no topics")
    done = command("topics", "create", "--json", url=AWAY)
    assert json.loads(done.stdout) == {"bus": "postgres", "created": []}


@pytest.mark.parametrize("option", ["--partitions", "--replicas"])
def test_a_topic_has_at_least_one_partition_and_copy(option: str) -> None:
    done = command("topics", "create", option, "0", url=AWAY)
    assert done.returncode == 2
    assert option in done.stderr
