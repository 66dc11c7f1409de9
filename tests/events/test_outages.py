"""What the events need goes away, and comes back: nothing is lost, and no attempt is spent."""

from __future__ import annotations

import statistics
import time

from app import create_app
from tests.events.conftest import Outages
from tests.events.stage import Stage, confirmed
from tests.wait import wait_until

PURCHASES = "student_course_purchases"
OUTAGE_SECONDS = 30


def test_a_database_down_for_half_a_minute_costs_no_attempt(
    frail_stage: Stage, outages: Outages
) -> None:
    stage = frail_stage
    consumer = stage.consumer("purchase")
    stage.pay("s-1", "c-1")
    stage.wait_count(PURCHASES, 1)
    # Under way when it goes: behind a lock, its transaction cannot end.
    with stage.sql.transaction(force_rollback=True):
        stage.sql.execute(f"LOCK TABLE {PURCHASES}")
        stage.publish(*(confirmed(f"s-2-{n}") for n in range(20)))
        wait_until(lambda: _waits_for_lock(stage), what="the consumer to wait for the lock")
        outages.postgres.stop()
        over = time.monotonic() + OUTAGE_SECONDS
        consumer.wait_log("paused")
        wait_until(lambda: time.monotonic() > over, what="the outage", seconds=OUTAGE_SECONDS + 5)
        outages.postgres.start()
    stage.wait_count(PURCHASES, 21, seconds=90)
    stage.wait_quiet()
    assert stage.count("dead_letter") == 0
    assert stage.count("event_failure") == 0
    assert stage.total("retried", "purchase") == 0
    assert consumer.popen.poll() is None
    assert "goes on" in consumer.log


def test_a_bus_that_is_restarted_loses_nothing(frail_stage: Stage, outages: Outages) -> None:
    stage = frail_stage
    stage.consumer("purchase")
    for n in range(5):
        stage.pay(f"s-{n}", "c-1", "c-2")
    outages.stop_bus()
    outages.start_bus()
    for n in range(5, 10):
        stage.pay(f"s-{n}", "c-1", "c-2")
    stage.wait_count(PURCHASES, 20, seconds=90)
    stage.wait_quiet(90)
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 20
    assert stage.count("dead_letter") == 0


def test_payments_are_taken_while_the_bus_is_away_and_carried_out_later(
    frail_stage: Stage, outages: Outages
) -> None:
    stage = frail_stage
    consumer = stage.consumer("purchase")
    client = create_app(stage.config).test_client()
    if outages.broker is not None:
        outages.broker.stop()
    else:
        consumer.kill()  # there is no other broker than the database, whose consumers are away
    seconds = []
    for n in range(50):
        began = time.monotonic()
        answer = client.post(
            "/api/payments/confirm",
            json={
                "provider_payment_id": f"pay_{n}",
                "student_id": f"s-{n}",
                "course_id": "c-1",
                "amount": 10,
            },
        )
        seconds.append(time.monotonic() - began)
        assert answer.status_code == 202
    assert statistics.median(seconds) < 0.1
    assert stage.count(PURCHASES) == 0
    if outages.broker is not None:
        outages.broker.start()
    else:
        stage.consumer("purchase")
    stage.wait_count(PURCHASES, 50, seconds=90)
    stage.wait_quiet(90)


def test_a_consumer_says_what_is_away_and_when_it_is_back(
    frail_stage: Stage, outages: Outages
) -> None:
    stage = frail_stage
    outages.stop_bus()
    consumer = stage.consumer("purchase")
    consumer.wait_log("paused: ")
    outages.start_bus()
    consumer.wait_log("goes on")
    stage.pay("s-1", "c-1")
    stage.wait_count(PURCHASES, 1)


def _waits_for_lock(stage: Stage) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    return bool(stage.value(query, PURCHASES))
