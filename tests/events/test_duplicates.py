"""The same event again, at once, or in another order than it happened."""

from __future__ import annotations

import random
import uuid

from app.consumers.admin_stub import AdminStub
from app.events import Envelope
from tests.events.stage import Stage, confirmed, event

PURCHASES = "student_course_purchases"


def test_an_event_published_ten_times_is_carried_out_once(stage: Stage) -> None:
    stage.consumer("purchase")
    once = confirmed()
    stage.publish(*[once] * 10)
    stage.wait_count(PURCHASES, 1)
    stage.wait_quiet()
    assert stage.count(PURCHASES) == 1
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 1
    assert stage.total("processed", "purchase") == 1
    assert stage.total("redelivered", "purchase") == 9


def test_an_event_at_two_instances_at_once_is_carried_out_once(stage: Stage) -> None:
    for _ in range(2):
        stage.consumer("purchase")
    events = [confirmed(f"s-{n}") for n in range(100)]
    # Of different keys, so that they come to different partitions and by that to both.
    for each in ("first", "second", "third", "fourth"):
        stage.bus.publish([stage.outgoing(event, key=f"{each}-{n}") for n, event in _mixed(events)])
    stage.wait_count(PURCHASES, 100)
    stage.wait_quiet()
    assert stage.count(PURCHASES) == 100
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 100
    assert stage.total("processed", "purchase") == 100
    assert stage.total("redelivered", "purchase") == 300


def test_two_courses_of_one_checkout_are_two_purchases_under_one_correlation_id(
    stage: Stage,
) -> None:
    stage.consumer("purchase")
    first, second = stage.pay("s-1", "c-1", "c-2")
    stage.wait_count(PURCHASES, 2)
    stage.wait_quiet()
    assert first.correlation_id == second.correlation_id
    assert stage.count(PURCHASES, f"correlation_id = '{first.correlation_id}'") == 2
    emitted = f"type = 'PURCHASE_CREATED' AND correlation_id = '{first.correlation_id}'"
    assert stage.count("outbox", emitted) == 2


def test_two_payments_for_one_course_in_any_order_are_one_active_purchase(stage: Stage) -> None:
    stage.consumer("purchase")
    events = [confirmed(f"s-{n % 20}", "c-1") for n in range(60)]
    stage.publish(*(event for _, event in _mixed(events)))
    stage.wait_count("processed_events", 60)
    stage.wait_quiet()
    assert stage.count(PURCHASES, "is_active") == 20
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 20
    assert stage.count("dead_letter") == 0


def test_an_allocation_told_of_before_its_row_is_there_gets_its_sessions_when_it_is(
    stage: Stage, admin: AdminStub
) -> None:
    stage.consumer("session")
    created = event(
        "PURCHASE_CREATED",
        {
            "purchase_id": str(uuid.uuid4()),
            "student_id": "s-1",
            "course_id": "c-1",
            "provider_payment_id": "pay_1",
            "amount": "49.90",
        },
    )
    consumer = stage.consumer("allocation")
    stage.publish(created)
    stage.wait_count("trainer_allocations", 1)
    stage.wait_count("course_sessions", 7)
    (told,) = stage.rows("SELECT payload FROM outbox WHERE type = 'TRAINER_ALLOCATED'")
    # The same news, of an allocation that comes to be only after a first attempt has failed.
    consumer.kill()
    allocation = uuid.uuid4()
    stage.publish(event("TRAINER_ALLOCATED", {**told[0], "allocation_id": str(allocation)}))
    stage.wait_count("event_failure", 1)
    stage.sql.execute(
        """
        INSERT INTO trainer_allocations (id, purchase_id, student_id, course_id, trainer_id,
            admin_allocation_id, status, session_time, event_id, correlation_id)
        SELECT %s, purchase_id, 's-2', course_id, trainer_id, admin_allocation_id, status,
            session_time, gen_random_uuid(), correlation_id
        FROM trainer_allocations
        """,
        (allocation,),
    )
    stage.wait_count("course_sessions", 7, f"allocation_id = '{allocation}'")
    stage.wait_quiet()
    assert stage.count("dead_letter") == 0
    assert stage.count("event_failure") == 0


def _mixed(events: list[Envelope]) -> list[tuple[int, Envelope]]:
    mixed = list(enumerate(events))
    random.Random(7).shuffle(mixed)  # noqa: S311 - no secret
    return mixed
