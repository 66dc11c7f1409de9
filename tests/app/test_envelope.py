from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from app.db import migrations
from app.events import Envelope, EnvelopeError, outbox

EVENT_ID = UUID("5d3f2e0a-9f4c-4a86-8a5e-0d2c1b7f6e10")
CORRELATION_ID = UUID("0b7a5c2e-8a0f-5f3e-9a39-2b8f4d1f7c11")
FIELDS: dict[str, Any] = {
    "event_id": EVENT_ID,
    "type": "PURCHASE_CONFIRMED",
    "version": 1,
    "correlation_id": CORRELATION_ID,
    "causation_id": None,
    "occurred_at": datetime(2026, 11, 22, 9, 30, 0, 123456, tzinfo=UTC),
    "payload": {"amount": "99.90", "names": ["Ädä 🎓"], "nested": {"a": [1, 2.5, None, True]}},
}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        migrations.apply(connection, migrations.read())
        yield connection


def message(**change: Any) -> str:
    """An envelope's JSON, with some members of another value."""
    return json.dumps(json.loads(Envelope(**FIELDS).as_json()) | change)


def test_an_envelope_comes_back_from_its_json() -> None:
    envelope = Envelope(**FIELDS)
    text = envelope.as_json()
    assert "\n" not in text
    assert list(json.loads(text)) == list(FIELDS)
    assert json.loads(text)["occurred_at"] == "2026-11-22T09:30:00.123456Z"
    assert Envelope.from_json(text) == envelope
    assert Envelope.from_json(text.encode()) == envelope


def test_a_consequence_names_its_cause_and_shares_its_correlation() -> None:
    consequence = Envelope(**FIELDS | {"event_id": uuid4(), "causation_id": EVENT_ID})
    assert Envelope.from_json(consequence.as_json()).causation_id == EVENT_ID


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    local = datetime(2026, 11, 22, 11, 30, tzinfo=timezone(timedelta(hours=2)))
    envelope = Envelope(**FIELDS | {"occurred_at": local})
    assert json.loads(envelope.as_json())["occurred_at"] == "2026-11-22T09:30:00Z"
    assert Envelope.from_json(envelope.as_json()) == envelope


def test_an_envelope_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Envelope(**FIELDS).version = 2  # type: ignore[misc]


UUID_WANTED = "must be a UUID"
TYPE = "must be a name like PURCHASE_CONFIRMED"
VERSION = "must be an integer from 1"
TIME = "must be a time with its offset from UTC"
JSON = "must be JSON, without NaN and NUL characters"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("event_id", str(EVENT_ID), UUID_WANTED),
        ("correlation_id", None, UUID_WANTED),
        ("causation_id", "x", UUID_WANTED),
        *(("type", value, TYPE) for value in ["", "purchase", "A__B", "_A", "A_", "A-B", "1A", 7]),
        *(("type", value, TYPE) for value in ["A\n", "Ä", None]),
        *(("version", value, VERSION) for value in [0, -1, True, "1", 1.0, 2**31, None]),
        ("occurred_at", datetime(2026, 11, 22), TIME),  # noqa: DTZ001 - naive is the point
        ("occurred_at", "2026-11-22T09:30:00Z", TIME),
        ("payload", None, "must be an object"),
        ("payload", [("a", 1)], "must be an object"),
        *(("payload", {"a": value}, JSON) for value in [float("nan"), float("inf"), EVENT_ID, {1}]),
        *(("payload", {"a": value}, JSON) for value in ["\0", "\\\0", "\ud800", (1,), b"a"]),
        *(("payload", value, JSON) for value in [{1: "a"}, {"\0": 1}, {"\ud800": 1}]),
    ],
)
def test_what_is_no_event_is_refused(name: str, value: Any, why: str) -> None:
    with pytest.raises(EnvelopeError) as refused:
        Envelope(**FIELDS | {name: value})
    assert str(refused.value) == f"{name}: {why}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "message: must be JSON"),
        ("{", "message: must be JSON"),
        (b"\xff", "message: must be JSON"),
        ("[" * 100_000, "message: must be JSON"),
        ("[]", "message: must be a JSON object"),
        ("null", "message: must be a JSON object"),
        ("{}", "event_id: must be a UUID"),
        (message(event_id=7), "event_id: must be a UUID"),
        (message(event_id=[1]), "event_id: must be a UUID"),
        (message(correlation_id="x"), "correlation_id: must be a UUID"),
        (message(causation_id=""), "causation_id: must be a UUID"),
        (message(type=None), f"type: {TYPE}"),
        (message(version="1"), f"version: {VERSION}"),
        (message(occurred_at=None), f"occurred_at: {TIME}"),
        (message(occurred_at=1795339800), f"occurred_at: {TIME}"),
        (message(occurred_at="yesterday"), f"occurred_at: {TIME}"),
        (message(occurred_at="2026-11-22T09:30:00"), f"occurred_at: {TIME}"),
        (message(payload=[1]), "payload: must be an object"),
        (message(payload={"a": float("nan")}), f"payload: {JSON}"),
        (message(payload={"a": "\0"}), f"payload: {JSON}"),
    ],
)
def test_a_message_that_is_no_event_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(EnvelopeError) as refused:
        Envelope.from_json(text)
    assert str(refused.value) == why


def test_members_that_are_not_known_are_ignored() -> None:
    assert Envelope.from_json(message(trace="x")) == Envelope(**FIELDS)


def test_an_event_is_there_when_its_transaction_commits(
    connection: psycopg.Connection[Any],
) -> None:
    payload = FIELDS["payload"] | {"escaped": "\\u0000 \\\\u0000", "big": 10**30}
    envelope = Envelope(**FIELDS | {"causation_id": CORRELATION_ID, "payload": payload})
    with connection.transaction(force_rollback=True):
        outbox.append(connection, envelope)
    count = "SELECT count(*) FROM outbox"
    assert connection.execute(count).fetchone() == (0,)

    with connection.transaction(), connection.cursor() as cursor:
        outbox.append(cursor, envelope)
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT * FROM outbox").fetchone()
    assert row is not None
    del row["id"]
    assert row.pop("published_at") is None
    assert Envelope(**row) == envelope


def test_an_event_is_written_once(connection: psycopg.Connection[Any]) -> None:
    outbox.append(connection, Envelope(**FIELDS))
    with pytest.raises(psycopg.errors.UniqueViolation):
        outbox.append(connection, Envelope(**FIELDS))


def test_what_waits_is_found_by_a_small_index(connection: psycopg.Connection[Any]) -> None:
    for _ in range(3):
        outbox.append(connection, Envelope(**FIELDS | {"event_id": uuid4()}))
    connection.execute("SET enable_seqscan = off")
    question = "EXPLAIN SELECT id FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 2"
    plan = "".join(line for (line,) in connection.execute(question))
    assert "outbox_unpublished" in plan
