from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import AppFactory, Sql
from tests.app.test_health import wait_until_ready
from tests.app.test_issuance import lose_the_answer
from tests.app.test_sessions import statements
from tests.app.test_sessions_outage import NOBODY, is_unavailable

PAYMENT: dict[str, Any] = {
    "provider_payment_id": "pay_1",
    "student_id": "s-7",
    "course_id": "c-1",
    "amount": 99.9,
}


@pytest.fixture
def app(make_app: AppFactory, database_url: str) -> Flask:
    app = make_app(database_url)
    assert app.test_client().get("/health/ready").status_code == 200, "the schema is there"
    return app


def confirm(client: FlaskClient, **change: Any) -> TestResponse:
    return client.post("/api/payments/confirm", json=PAYMENT | change)


def counts(sql: Sql) -> tuple[int, int]:
    """How many payments, how many events."""
    ((payments, events),) = sql(
        "SELECT (SELECT count(*) FROM payment), (SELECT count(*) FROM outbox)"
    )
    return payments, events


def test_a_payment_is_stored_with_its_event_before_it_is_confirmed(
    client: FlaskClient, sql: Sql
) -> None:
    answer = confirm(client)
    assert answer.status_code == 202
    ids = answer.get_json()
    assert list(ids) == ["event_id", "correlation_id"]
    assert "Set-Cookie" not in answer.headers

    event_id, correlation_id = uuid.UUID(ids["event_id"]), uuid.UUID(ids["correlation_id"])
    assert event_id.version == 4
    payment = ("pay_1", "s-7", "c-1", Decimal("99.90"), event_id, correlation_id)
    stored = """
        SELECT provider_payment_id, student_id, course_id, amount, event_id, correlation_id
        FROM payment
    """
    assert sql(stored) == [payment]
    written = """
        SELECT event_id, type, version, correlation_id, causation_id, payload, published_at
        FROM outbox
    """
    payload = PAYMENT | {"amount": "99.90"}
    event = (event_id, "PURCHASE_CONFIRMED", 1, correlation_id, None, payload, None)
    assert sql(written) == [event]
    ((occurred_at,),) = sql("SELECT occurred_at FROM outbox")
    assert abs(datetime.now(UTC) - occurred_at) < timedelta(minutes=1)


def test_a_repetition_gets_the_same_answer(client: FlaskClient, sql: Sql) -> None:
    first = confirm(client)
    for change in ({}, {"amount": 99.90}, {"note": "ignored"}, {"event_id": "ignored"}):
        again = confirm(client, **change)
        assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert counts(sql) == (1, 1)


def test_another_amount_is_a_conflict(client: FlaskClient, sql: Sql) -> None:
    first = confirm(client)
    for amount in (99.91, 99, 0.01, 1e9):
        answer = confirm(client, amount=amount)
        assert answer.status_code == 409
        assert answer.get_json()["error"]["code"] == "payment_conflict"
        assert first.get_json()["event_id"] not in answer.text
    assert counts(sql) == (1, 1)
    assert sql("SELECT amount FROM payment") == [(Decimal("99.90"),)]
    assert confirm(client).get_json() == first.get_json()


def test_the_courses_of_one_checkout_are_correlated(client: FlaskClient, sql: Sql) -> None:
    first, second = confirm(client).get_json(), confirm(client, course_id="c-2").get_json()
    assert first["event_id"] != second["event_id"]
    assert first["correlation_id"] == second["correlation_id"]
    other = confirm(client, provider_payment_id="pay_2").get_json()
    assert other["correlation_id"] != first["correlation_id"]
    third = confirm(client, student_id="s-8").get_json()
    assert third["event_id"] not in (first["event_id"], second["event_id"])
    assert counts(sql) == (4, 4)


def test_the_correlation_id_never_changes(client: FlaskClient) -> None:
    answer = confirm(client)
    assert answer.get_json()["correlation_id"] == "3c6d4f5c-869b-5643-aa98-7f5fc3f1dcd9"


def test_an_integer_is_its_decimal_text(client: FlaskClient, sql: Sql) -> None:
    numbers = {"provider_payment_id": 2**53 - 1, "student_id": 0, "course_id": 42}
    texts = {name: str(number) for name, number in numbers.items()}
    first = confirm(client, **numbers)
    assert first.status_code == 202
    for same in (texts, {"course_id": 42.0, "student_id": -0.0}):  # JSON's 42.0 is the integer 42
        assert confirm(client, **numbers | same).get_json() == first.get_json()
    assert sql("SELECT payload FROM outbox") == [(PAYMENT | texts | {"amount": "99.90"},)]


@pytest.mark.parametrize(
    ("amount", "stored"),
    [
        (0.01, "0.01"),
        (1, "1.00"),
        (1.0, "1.00"),
        (0.1, "0.10"),
        (1e9, "1000000000.00"),
        (1_000_000_000, "1000000000.00"),
        (999_999_999.99, "999999999.99"),
        (1.15, "1.15"),
        (4.35, "4.35"),
        (2.675e2, "267.50"),
    ],
)
def test_an_amount_is_kept_to_the_cent(
    client: FlaskClient, sql: Sql, amount: float, stored: str
) -> None:
    assert confirm(client, amount=amount).status_code == 202
    assert sql("SELECT amount::text FROM payment") == [(stored,)]
    assert sql("SELECT payload->>'amount' FROM outbox") == [(stored,)]
    assert confirm(client, amount=amount).status_code == 202


def test_ids_of_200_characters_of_any_kind(client: FlaskClient, sql: Sql) -> None:
    chance = random.Random(1)  # noqa: S311 - of characters, so that no compression shortens them
    names = ("provider_payment_id", "student_id", "course_id")
    ids = {
        name: "".join(chr(chance.randrange(0x10000, 0x110000)) for _ in range(200))
        for name in names
    }
    answer = confirm(client, **ids)
    assert answer.status_code == 202
    assert confirm(client, **ids).get_json() == answer.get_json()
    odd = {"student_id": "\\u0000 \x01 \u2028", "course_id": " "}
    assert confirm(client, **odd).status_code == 202
    assert counts(sql) == (2, 2)


ID = "must be a text of 1 to 200 characters or an integer from 0 to 2^53-1"
RANGE = "must be more than 0 and at most 1000000000"


@pytest.mark.parametrize("name", ["provider_payment_id", "student_id", "course_id"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is required"),
        *(
            (value, ID)
            for value in ["", "x" * 201, True, False, -1, 2**53, 2.0**53, 0.5, [], {}, ["x"]]
        ),
        *((value, ID) for value in ["a\0b", "half \ud800"]),
    ],
)
def test_a_bad_id_is_named(make_app: AppFactory, name: str, value: Any, why: str) -> None:
    answer = confirm(make_app(None).test_client(), **{name: value})
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "invalid_field"
    assert answer.get_json()["error"]["message"] == f"{name}: {why}"


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        (None, "is required"),
        *((amount, "must be a number") for amount in ["99.90", True, False, [], {}, [1]]),
        *((amount, RANGE) for amount in [0, -0.0, -1, -0.01, 1_000_000_001, 1000000000.01]),
        *((amount, RANGE) for amount in [1e300, 10**400]),
        *((amount, "must have at most two decimals") for amount in [0.001, 1.005, 5e-324, 99.999]),
    ],
)
def test_a_bad_amount_is_named(make_app: AppFactory, amount: Any, why: str) -> None:
    answer = confirm(make_app(None).test_client(), amount=amount)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["message"] == f"amount: {why}"


@pytest.mark.parametrize("name", PAYMENT)
def test_a_missing_field_is_named(make_app: AppFactory, name: str) -> None:
    fields = {key: value for key, value in PAYMENT.items() if key != name}
    answer = make_app(None).test_client().post("/api/payments/confirm", json=fields)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["message"] == f"{name}: is required"


def test_an_infinite_amount(make_app: AppFactory) -> None:
    body = '{"provider_payment_id":"p","student_id":"s","course_id":"c","amount":1e999}'
    client = make_app(None).test_client()
    answer = client.post("/api/payments/confirm", data=body, content_type="application/json")
    assert answer.status_code == 422
    assert answer.get_json()["error"]["message"] == f"amount: {RANGE}"


def test_of_many_amounts_at_once_one_is_stored(app: Flask, sql: Sql) -> None:
    def attempt(cents: int) -> tuple[int, str]:
        answer = confirm(app.test_client(), amount=cents / 100)
        return answer.status_code, answer.text

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(attempt, [1, 2] * 8))
    assert sorted(status for status, _ in answers) == [202] * 8 + [409] * 8
    assert len({text for status, text in answers if status == 202}) == 1
    assert counts(sql) == (1, 1)


def test_a_confirmation_whose_answer_was_lost_is_carried_out_once(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_the_answer(monkeypatch, "payment")
    answer = confirm(client)
    assert lost
    assert answer.status_code == 202
    assert sql("SELECT event_id::text FROM outbox") == [(answer.get_json()["event_id"],)]
    assert counts(sql) == (1, 1)


def test_there_is_no_payment_without_its_event(client: FlaskClient, sql: Sql) -> None:
    sql("ALTER TABLE outbox ADD CONSTRAINT refuse CHECK (type <> 'PURCHASE_CONFIRMED')")
    assert confirm(client).status_code == 500
    assert counts(sql) == (0, 0)
    sql("ALTER TABLE outbox DROP CONSTRAINT refuse")
    assert confirm(client).status_code == 202
    assert counts(sql) == (1, 1)


def test_the_first_is_one_statement_and_a_repetition_two(app: Flask, client: FlaskClient) -> None:
    for expected in (["WITH"], ["WITH", "SELECT"]):
        with statements(app) as sent:
            confirm(client)
        assert [s.split()[0] for s in sent] == expected
    with statements(app) as sent:
        confirm(client, amount=0)
    assert sent == []


def test_postgres_away(make_app: AppFactory) -> None:
    assert is_unavailable(confirm(make_app(NOBODY).test_client()))


def test_a_restart_of_postgres_forgets_nothing(
    make_app: AppFactory, own_postgres: EmbeddedPostgres
) -> None:
    client = make_app(own_postgres.start()).test_client()
    first = confirm(client)
    assert first.status_code == 202
    own_postgres.stop()
    assert is_unavailable(confirm(client))
    own_postgres.start()
    wait_until_ready(client)
    assert confirm(client).get_json() == first.get_json()
