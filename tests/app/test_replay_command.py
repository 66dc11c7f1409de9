"""`python -m app.consumers replay`, as an operator runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from app.command_line import Misconfigured
from app.consumers.commands.replay import read_start
from app.events.postgres_subscription import PostgresSubscription
from tests.app.conftest import Sql
from tests.app.consumers_command import AWAY, answered, command, migrate, publish, subscribe

GROUP, TOPIC = "purchase-creation-workers", "purchase-confirmed"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def url(database_url: str) -> str:
    return migrate(database_url)


@pytest.fixture
def member(url: str) -> Iterator[PostgresSubscription]:
    """Of a group that has done all three messages there are."""
    with closing(subscribe(url, GROUP, TOPIC)) as member:
        publish(url, TOPIC, b"1", b"2", b"3")
        messages = member.receive(10, 5.0)
        assert len(messages) == 3
        member.acknowledge(messages)
        yield member


def test_replay_lets_the_group_have_all_messages_again(
    url: str, member: PostgresSubscription
) -> None:
    done = command("replay", "--group", GROUP, "--from", "beginning", "--yes", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 message(s) of {TOPIC} come again to {GROUP}\n"
    assert [message.value for message in member.receive(10, 5.0)] == [b"1", b"2", b"3"]


def test_replay_from_a_time_lets_it_have_those_since_then(
    url: str, sql: Sql, member: PostgresSubscription
) -> None:
    sql("UPDATE event_log SET published_at = now() - interval '2 h' WHERE message = '1'")
    start = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    words = ("replay", "--group", "purchase", "--from", start, "--yes", "--json")
    done = command(*words, url=url)
    assert json.loads(done.stdout) == {
        "consumer": "purchase",
        "group": GROUP,
        "topic": TOPIC,
        "messages": 2,
    }
    assert [message.value for message in member.receive(10, 5.0)] == [b"2", b"3"]


def test_replay_gives_each_event_of_the_consumer_all_its_attempts(url: str, sql: Sql) -> None:
    for consumer in ("purchase", "purchase", "session"):
        sql("INSERT INTO event_failure VALUES (%s, gen_random_uuid(), 2, 'Boom')", consumer)
    words = ("replay", "--group", GROUP, "--from", "beginning", "--yes")
    assert command(*words, url=url).returncode == 0
    assert sql("SELECT consumer FROM event_failure") == [("session",)]


def test_replay_asks_on_a_terminal(url: str, member: PostgresSubscription) -> None:
    words = ("replay", "--group", "purchase", "--from", "beginning")
    done = answered(*words, url=url, answer="n")
    assert done.returncode == 1
    assert f"{GROUP} gets the messages of {TOPIC} again: from beginning?" in done.stdout
    assert member.receive(10, 0.0) == []
    assert answered(*words, url=url, answer="y").returncode == 0
    assert len(member.receive(10, 5.0)) == 3


def test_without_a_terminal_it_needs_yes() -> None:
    done = command("replay", "--group", "purchase", "--from", "beginning", url=AWAY)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: replay asks before it begins: without a terminal, --yes\n"


def test_a_bad_time_is_one_line_and_exit_2() -> None:
    words = ("replay", "--group", "purchase", "--from", "yesterday", "--yes")
    done = command(*words, url=AWAY)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: --from 'yesterday': expected beginning, or a time like 2030-01-31T09:00:00+01:00\n"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected beginning, or a time like"),
        ("2026-02-30T09:00Z", "expected beginning, or a time like"),
        ("Beginning", "expected beginning, or a time like"),
        ("2026-11-22T09:00", "this one lacks its offset from UTC: Z or +01:00"),
        ("2026-11-22", "this one lacks its offset"),
        ("2026-11-22T12:00:01Z", "this one is in the future"),
        ("2026-11-22T12:30-01:00", "this one is in the future"),
        ("9999-12-31T23:59:59-23:59", "this one is in the future"),
    ],
)
def test_what_is_no_time_of_the_past_is_refused(text: str, why: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_start(text, NOW)
    assert caught.value.message.startswith(f"--from {text!r}: ")
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("beginning", None),
        ("2026-11-22T12:30+01:00", NOW - timedelta(minutes=30)),
        ("2026-11-22T11:30Z", NOW - timedelta(minutes=30)),
        ("1969-12-31T23:59:59.999Z", None),
        ("0001-01-01T00:00+23:00", None),
    ],
)
def test_a_time_is_one_with_its_offset_and_long_ago_is_the_beginning(
    text: str, start: datetime | None
) -> None:
    assert read_start(text, NOW) == start


def test_an_unknown_group_is_exit_2_and_names_those_there_are() -> None:
    done = command("replay", "--group", "seats", "--from", "beginning", url=AWAY)
    assert done.returncode == 2
    assert GROUP in done.stderr
    assert "'allocation'" in done.stderr


def test_a_database_that_is_away_is_one_line_and_exit_1() -> None:
    words = ("replay", "--group", "purchase", "--from", "beginning", "--yes")
    done = command(*words, url=AWAY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: Postgres is away: cannot connect: Connection refused\n"
