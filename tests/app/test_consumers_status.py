"""`python -m app.consumers status`, as an operator runs it."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from app.db import Connection
from app.events.instances import Counts, Instance
from tests.app.conftest import Sql
from tests.app.consumers_command import AWAY, bury, command, migrate, publish


@pytest.fixture
def url(database_url: str) -> str:
    return migrate(database_url)


def status(url: str) -> Any:
    done = command("status", "--json", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def start(url: str, consumer: str, *, paused: str = "", per_second: float = 0.0) -> Instance:
    """An instance that has done a hundred events and gives a sign of life now."""
    instance = Instance(consumer=consumer)
    counts = Counts(processed=100, redelivered=3, retried=2, dead_lettered=1)
    with Connection.open(url) as connection:
        instance.count(connection, counts)
        state = "paused" if paused else "running"
        instance.beat(connection, state=state, detail=paused, per_second=per_second)
    return instance


def test_status_tells_of_all_consumers_in_their_order(url: str) -> None:
    publish(url, "purchase-confirmed", b"1", b"2")
    start(url, "purchase", per_second=12.345)
    start(url, "purchase", per_second=1.0)
    bury(url, offset=1)
    facts = status(url)
    assert list(facts) == ["bus", "consumers", "outbox"]
    assert facts["bus"] == "postgres"
    assert facts["outbox"] == {"waiting": 0, "oldest_s": None}
    names = [each["consumer"] for each in facts["consumers"]]
    assert names == ["purchase", "allocation", "session", "cache"]
    assert list(facts["consumers"][0].items()) == [
        ("consumer", "purchase"),
        ("group", "purchase-creation-workers"),
        ("topic", "purchase-confirmed"),
        ("instances", 2),
        ("state", "running"),
        ("detail", ""),
        ("lag", 2),
        ("per_second", 13.35),
        ("processed", 200),
        ("redelivered", 6),
        ("retried", 4),
        ("dead_lettered", 2),
        ("dead_letters_waiting", 1),
    ]
    assert list(facts["consumers"][3].values()) == [
        *("cache", "cache-invalidation-workers", "purchase-created", 0, "stopped", ""),
        *(0, 0.0, 0, 0, 0, 0, 0),
    ]


def test_a_consumer_is_paused_when_all_of_its_instances_are(url: str) -> None:
    start(url, "session", paused="Redis is away")
    start(url, "purchase", paused="the broker is away")
    start(url, "purchase", paused="the broker is away")
    facts = status(url)["consumers"]
    assert (facts[0]["state"], facts[0]["detail"]) == ("paused", "the broker is away")
    text = command("status", url=url).stdout
    assert "purchase is paused: the broker is away\n" in text
    start(url, "purchase")
    facts = status(url)["consumers"]
    assert (facts[0]["state"], facts[0]["detail"]) == ("running", "")
    assert (facts[2]["state"], facts[2]["detail"]) == ("paused", "Redis is away")


def test_a_consumer_without_a_sign_of_life_is_stopped_and_its_counts_stay(
    url: str, sql: Sql
) -> None:
    start(url, "purchase", per_second=5.0)
    sql("UPDATE consumer_instance SET seen_at = now() - interval '61 s'")
    facts = status(url)["consumers"][0]
    assert (facts["instances"], facts["state"], facts["per_second"]) == (0, "stopped", 0.0)
    assert facts["processed"] == 100


def test_counts_are_there_once_when_an_instance_leaves(url: str) -> None:
    start(url, "purchase")
    leaving = start(url, "purchase")
    before = status(url)["consumers"][0]
    with Connection.open(url) as connection:
        leaving.leave(connection)
    after = status(url)["consumers"][0]
    assert (before.pop("instances"), after.pop("instances")) == (2, 1)
    assert before == after


def test_a_letter_that_was_redriven_does_not_wait(url: str, sql: Sql) -> None:
    bury(url, offset=1)
    bury(url, offset=2)
    sql("UPDATE dead_letter SET redriven_at = now() WHERE log_offset = 1")
    assert status(url)["consumers"][0]["dead_letters_waiting"] == 1


def test_a_bus_that_is_away_leaves_the_lag_unknown(url: str, sql: Sql) -> None:
    start(url, "purchase")
    sql("ALTER TABLE event_subscription RENAME TO elsewhere")
    facts = status(url)
    assert facts["error"].startswith('Postgres refused: relation "event_subscription"')
    assert [each["lag"] for each in facts["consumers"]] == [None] * 4
    assert facts["consumers"][0]["processed"] == 100
    done = command("status", url=url)
    assert done.returncode == 0
    assert "bus: postgres, which does not say what waits: Postgres refused: relation" in done.stdout


def test_a_bus_that_gives_no_answer_is_not_waited_for(url: str) -> None:
    with psycopg.connect(url) as other, other.transaction():
        other.execute("LOCK TABLE event_subscription")
        facts = status(url)
    assert facts["error"] == "no answer from the bus within 1.2 s"
    assert facts["consumers"][0]["lag"] is None


def test_the_table_shows_what_people_look_for(url: str) -> None:
    publish(url, "purchase-confirmed", b"1", b"2")
    start(url, "purchase", per_second=12.345)
    lines = command("status", url=url).stdout.splitlines()
    assert lines[0].split("  ")[0] == "consumer"
    assert lines[1].split() == ["purchase", "running", "1", "2", "12.3", "100", "3", "2", "1", "0"]
    assert lines[2].split()[:4] == ["allocation", "stopped", "0", "0"]
    assert lines[-2:] == ["outbox: nothing waits", "bus: postgres"]


def test_a_database_that_is_away_is_one_line_and_exit_1() -> None:
    done = command("status", "--json", url=AWAY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: Postgres is away: cannot connect: Connection refused\n"


def test_a_schema_that_is_not_there_is_one_line_and_exit_1(database_url: str) -> None:
    done = command("status", url=database_url)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Postgres refused: relation")
    assert done.stderr.count("\n") == 1
