from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.consumers.purchase import Purchase
from app.db import Connection
from app.events import Envelope
from app.events.handler import Rejected
from tests.app.chain import (
    NOON,
    at_once,
    carry_out,
    carrying_out,
    changed,
    confirmed,
    meanwhile,
    migrated,
)
from tests.app.conftest import Sql, records_of

TABLE = "student_course_purchases"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with migrated(database_url) as connection:
        yield connection


def counts(sql: Sql) -> tuple[int, int]:
    """How many purchases, how many events."""
    ((purchases, events),) = sql(
        "SELECT (SELECT count(*) FROM student_course_purchases), (SELECT count(*) FROM outbox)"
    )
    return purchases, events


def test_a_payment_becomes_a_purchase_that_is_told(connection: Connection, sql: Sql) -> None:
    paid = confirmed("s-7", "c-2", payment="pay_9", occurred_at=NOON - timedelta(hours=3))
    (told,) = carry_out(Purchase(), connection, paid)
    ((purchase_id, *stored),) = sql(
        """
        SELECT id, student_id, course_id, provider_payment_id, amount, is_active, event_id,
            correlation_id, purchased_at
        FROM student_course_purchases
        """
    )
    assert stored == [
        *("s-7", "c-2", "pay_9", Decimal("12.30"), True),
        *(paid.event_id, paid.correlation_id, NOON - timedelta(hours=3)),
    ]
    assert purchase_id == uuid.uuid5(paid.event_id, "purchase")
    assert (told.type, told.version) == ("PURCHASE_CREATED", 1)
    assert (told.correlation_id, told.causation_id) == (paid.correlation_id, paid.event_id)
    assert told.event_id == uuid.uuid5(paid.event_id, "PURCHASE_CREATED")
    assert abs(datetime.now(UTC) - told.occurred_at) < timedelta(minutes=1)
    assert told.payload == {
        "purchase_id": str(purchase_id),
        "student_id": "s-7",
        "course_id": "c-2",
        "provider_payment_id": "pay_9",
        "amount": "12.30",
    }


def test_the_courses_of_one_checkout_are_purchases_of_their_own(
    connection: Connection, sql: Sql
) -> None:
    checkout = uuid.uuid4()
    told = carry_out(
        Purchase(),
        connection,
        *(confirmed("s-1", course, correlation_id=checkout) for course in ("c-1", "c-2")),
    )
    assert {event.payload["course_id"] for event in told} == {"c-1", "c-2"}
    assert {event.correlation_id for event in told} == {checkout}
    assert counts(sql) == (2, 2)


def test_an_event_that_comes_again_makes_nothing(connection: Connection, sql: Sql) -> None:
    paid = confirmed()
    assert len(carry_out(Purchase(), connection, paid, paid)) == 1
    with records_of("app.consumers") as records:
        assert carry_out(Purchase(), connection, paid) == []
        assert carry_out(Purchase(), connection, paid, confirmed("s-2")) != []
    assert records == []
    assert counts(sql) == (2, 2)


def test_a_replay_does_not_revive_a_purchase_that_is_over(connection: Connection, sql: Sql) -> None:
    paid = confirmed()
    carry_out(Purchase(), connection, paid)
    sql("UPDATE student_course_purchases SET is_active = false")
    with records_of("app.consumers") as records:
        assert carry_out(Purchase(), connection, paid) == []
    assert records == []
    assert counts(sql) == (1, 1)
    assert sql("SELECT is_active FROM student_course_purchases") == [(False,)]


def test_who_had_the_course_before_can_buy_it_again(connection: Connection, sql: Sql) -> None:
    carry_out(Purchase(), connection, confirmed())
    sql("UPDATE student_course_purchases SET is_active = false")
    assert len(carry_out(Purchase(), connection, confirmed(payment="pay_2"))) == 1
    assert counts(sql) == (2, 2)


def test_a_second_payment_for_an_active_course_makes_nothing_but_a_warning(
    connection: Connection, sql: Sql
) -> None:
    carry_out(Purchase(), connection, confirmed())
    again = confirmed(payment="pay_2")
    with records_of("app.consumers") as records:
        assert carry_out(Purchase(), connection, again) == []
    (record,) = records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "Student 's-1' has course 'c-1' already: payment 'pay_2' makes no purchase"
    )
    fields = vars(record)
    assert fields["event"] == "purchase.repeated"
    assert fields["correlation_id"] == str(again.correlation_id)
    assert fields["event_id"] == str(again.event_id)
    assert counts(sql) == (1, 1)


def test_of_two_payments_in_one_batch_the_earlier_makes_the_purchase(
    connection: Connection, sql: Sql
) -> None:
    late = confirmed(payment="pay_2", occurred_at=NOON + timedelta(seconds=1))
    early = confirmed(payment="pay_1")
    with records_of("app.consumers") as records:
        (told,) = carry_out(Purchase(), connection, late, confirmed("s-2"), early)[1:]
    assert told.causation_id == early.event_id
    assert [vars(record)["event_id"] for record in records] == [str(late.event_id)]
    assert counts(sql) == (2, 2)


def test_many_at_once_are_one_batch(connection: Connection, sql: Sql) -> None:
    events = [confirmed(f"s-{n % 200}", f"c-{n // 200}") for n in range(500)]
    told = carry_out(Purchase(), connection, *events)
    assert [event.causation_id for event in told] == [event.event_id for event in events]
    assert carry_out(Purchase(), connection, *reversed(events)) == []
    assert counts(sql) == (500, 500)
    assert carry_out(Purchase(), connection) == []


def test_instances_with_the_same_events_in_any_order_make_each_purchase_once(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    chance = random.Random(3)  # noqa: S311 - no secret
    for round_ in range(5):
        events = [confirmed(f"s-{round_}-{n}", f"c-{n % 3}") for n in range(150)]
        told = at_once(
            database_url, Purchase(), (chance.sample(events, len(events)) for _ in range(4))
        )
        assert len(told) == 150
        assert {event.causation_id for event in told} == {event.event_id for event in events}
    assert counts(sql) == (750, 750)


def test_instances_with_other_payments_for_the_same_courses_make_each_purchase_once(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    chance = random.Random(4)  # noqa: S311 - no secret
    pairs = [(f"s-{n % 20}", f"c-{n // 20}") for n in range(100)]

    def batch() -> list[Envelope]:
        return [confirmed(*pair) for pair in chance.sample(pairs, len(pairs))]

    told = at_once(database_url, Purchase(), (batch() for _ in range(4)))
    found = sorted((event.payload["student_id"], event.payload["course_id"]) for event in told)
    assert found == sorted(pairs)
    assert counts(sql) == (100, 100)


@pytest.mark.parametrize("same_event", [True, False])
def test_an_instance_waits_for_another_one_that_makes_the_purchase(
    connection: Connection, database_url: str, sql: Sql, same_event: bool
) -> None:
    first = confirmed()
    second = first if same_event else confirmed(payment="pay_2")
    connection.execute("BEGIN")
    told = Purchase().write(connection, [(first, Purchase().read(first))])
    with meanwhile(database_url, connection, carrying_out(Purchase(), second)) as other:
        connection.execute("COMMIT")
        assert other.result(30) == []
    assert len(told) == 1
    assert counts(sql) == (1, 0)


def test_an_instance_makes_the_purchase_when_the_one_it_waited_for_fails(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    first, second = confirmed(), confirmed(payment="pay_2")
    connection.execute("BEGIN")
    Purchase().write(connection, [(first, Purchase().read(first))])
    with meanwhile(database_url, connection, carrying_out(Purchase(), second)) as other:
        connection.execute("ROLLBACK")
        (told,) = other.result(30)
    assert told.causation_id == second.event_id
    assert counts(sql) == (1, 1)


def test_an_instance_that_waits_keeps_nobody_from_what_comes_later(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    first, later = confirmed("s-1"), confirmed("s-2")
    connection.execute("BEGIN")
    Purchase().write(connection, [(first, Purchase().read(first))])
    with meanwhile(database_url, connection, carrying_out(Purchase(), later, first)) as other:
        # Had the other instance begun with this one, both would wait for each other.
        told = Purchase().write(connection, [(later, Purchase().read(later))])
        connection.execute("COMMIT")
        assert other.result(30) == []
    assert [event.causation_id for event in told] == [later.event_id]
    assert counts(sql) == (2, 0)


TEXT = "must be a text of 1 to 200 characters, without NUL"
AMOUNT = 'must be a text like "12.34", more than 0 and below 10000000000'


@pytest.mark.parametrize("name", ["provider_payment_id", "student_id", "course_id"])
@pytest.mark.parametrize("value", [..., None, "", "x" * 201, 1, True, [], {}])
def test_a_bad_text_is_named(name: str, value: Any) -> None:
    with pytest.raises(Rejected) as refusal:
        Purchase().read(changed(confirmed(), **{name: value}))
    assert str(refusal.value) == f"{name}: {TEXT}"


@pytest.mark.parametrize(
    "value",
    [
        *(
            ...,
            None,
            "",
            "0.00",
            "12",
            "12.3",
            "12.345",
            "-1.00",
            "+1.00",
            " 1.00",
            "1.00\n",
            "1e2",
        ),
        *("12345678901.00", "NaN", "١.٠٠", 12.34, 12, True, ["1.00"]),
    ],
)
def test_a_bad_amount_is_named(value: Any) -> None:
    with pytest.raises(Rejected) as refusal:
        Purchase().read(changed(confirmed(), amount=value))
    assert str(refusal.value) == f"amount: {AMOUNT}"


@pytest.mark.parametrize("amount", ["0.01", "0012.30", "9999999999.99"])
def test_amounts_that_fit(connection: Connection, sql: Sql, amount: str) -> None:
    (told,) = carry_out(Purchase(), connection, changed(confirmed(), amount=amount))
    ((stored,),) = sql("SELECT amount FROM student_course_purchases")
    assert stored == Decimal(amount) == Decimal(told.payload["amount"])


def test_texts_of_200_characters_of_any_kind(connection: Connection, sql: Sql) -> None:
    chance = random.Random(1)  # noqa: S311 - of characters, so that no compression shortens them
    texts = {
        name: "".join(chr(chance.randrange(0x10000, 0x110000)) for _ in range(200))
        for name in ("provider_payment_id", "student_id", "course_id")
    }
    (told,) = carry_out(Purchase(), connection, changed(confirmed(), **texts))
    assert told.payload.items() >= texts.items()
    assert counts(sql) == (1, 1)


def test_a_shape_that_is_not_known_is_refused() -> None:
    with pytest.raises(Rejected) as refusal:
        Purchase().read(confirmed(version=2))
    assert str(refusal.value) == "version: must be 1, not 2"


def test_how_it_is_run() -> None:
    handler = Purchase()
    assert (handler.name, handler.group) == ("purchase", "purchase-creation-workers")
    assert (handler.type, handler.policy.attempts) == ("PURCHASE_CONFIRMED", 3)
    assert handler.calls == 0
