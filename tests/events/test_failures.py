"""Events that fail: for a while, for ever, or because they are none."""

from __future__ import annotations

import json

import pytest

from tests.events.stage import Stage, confirmed, event, refusing

PURCHASES = "student_course_purchases"


@pytest.mark.parametrize(
    "poison",
    [
        b"no event",
        b"\x00\xff\xfe",
        b"",
        b"[]",
        confirmed(student="").as_json().encode(),
        event("TRAINER_ALLOCATED", {}).as_json().encode(),
    ],
    ids=["text", "bytes", "empty", "list", "payload", "type"],
)
def test_a_message_that_can_never_work_is_a_dead_letter_at_once_byte_by_byte(
    stage: Stage, poison: bytes
) -> None:
    stage.consumer("purchase")
    stage.publish_bytes(poison, topic="purchase-confirmed")
    stage.publish(confirmed())
    stage.wait_count("dead_letter", 1)
    stage.wait_count(PURCHASES, 1)
    stage.wait_quiet()
    ((message, topic, group, attempts, error, stack),) = stage.rows(
        "SELECT message, topic, group_name, attempts, error, stack FROM dead_letter"
    )
    assert bytes(message) == poison
    assert (topic, group) == ("purchase-confirmed", "purchase-creation-workers")
    assert attempts == 0
    assert error
    assert "Traceback" in stack
    assert stage.total("retried", "purchase") == 0


def test_an_event_that_fails_twice_succeeds_at_the_third_attempt(stage: Stage) -> None:
    stage.sql.execute("CREATE SEQUENCE tries")  # not taken back with the transaction that fails
    with refusing(stage, PURCHASES, "nextval('tries') <= 2"):
        stage.consumer("purchase")
        stage.publish(confirmed())
        stage.wait_count(PURCHASES, 1)
        stage.wait_quiet()
    assert stage.total("retried", "purchase") == 2
    assert stage.count("dead_letter") == 0
    assert stage.count("event_failure") == 0


def test_one_bad_event_of_a_batch_is_given_up_and_all_others_are_carried_out(
    stage: Stage,
) -> None:
    bad = confirmed("bad", "c-1")
    with refusing(stage, PURCHASES, "new.student_id = 'bad'"):
        stage.consumer("purchase")
        good = [confirmed(f"s-{n}") for n in range(60)]
        stage.append(*good[:30], bad, *good[30:])
        stage.wait_count(PURCHASES, 60)
        stage.wait_count("dead_letter", 1)
        stage.wait_quiet()
    ((event_id, correlation_id, attempts, error),) = stage.rows(
        "SELECT event_id, correlation_id, attempts, error FROM dead_letter"
    )
    assert (event_id, correlation_id) == (bad.event_id, bad.correlation_id)
    assert attempts == 3
    assert "refused by the test" in error
    assert stage.total("retried", "purchase") == 2
    assert stage.total("dead_lettered", "purchase") == 1
    assert stage.count("processed_events") == 60
    assert stage.count("event_failure") == 0


def test_a_dead_letter_is_on_the_queue_with_its_whole_context(stage: Stage) -> None:
    subscription = stage.bus.subscribe("reader", ["dead-letter-queue"], settle=lambda: None)
    subscription.receive(1, 0.1)  # it joins
    stage.consumer("purchase")
    stage.publish_bytes(b"no event", topic="purchase-confirmed")
    stage.wait_count("dead_letter", 1)
    letters = []
    for _ in range(60):
        letters += subscription.receive(10, 0.5)
        if letters:
            break
    subscription.close()
    (letter,) = letters
    (row,) = stage.rows("SELECT id, partition, log_offset, error, stack FROM dead_letter")
    assert letter.value == b"no event"
    assert dict(letter.headers) == {
        "dead-letter-id": str(row[0]),
        "original-topic": "purchase-confirmed",
        "original-partition": str(row[1]),
        "original-offset": str(row[2]),
        "group": "purchase-creation-workers",
        "consumer": "purchase",
        "attempts": "0",
        "error": row[3],
        "stack": row[4],
    }


def test_a_redriven_letter_is_carried_out_by_the_group_that_gave_it_up_and_no_other(
    stage: Stage,
) -> None:
    with refusing(stage, PURCHASES, "new.student_id = 'bad'"):
        stage.consumer("purchase")
        stage.append(confirmed("bad", "c-1"))
        stage.wait_count("dead_letter", 1)
        stage.wait_quiet()
    assert json.loads(stage.command("dlq", "list", "--json").stdout)["total"] == 1
    done = stage.command("dlq", "redrive", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    stage.wait_count(PURCHASES, 1)
    stage.wait_quiet()
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 1
    assert json.loads(stage.command("dlq", "list", "--json").stdout)["total"] == 0


def test_a_dead_letter_that_cannot_be_published_keeps_its_message_unacknowledged(
    stage: Stage,
) -> None:
    with stage.without_dead_letter_queue():
        consumer = stage.consumer("purchase")
        stage.publish_bytes(b"no event", topic="purchase-confirmed")
        stage.publish(confirmed())
        consumer.wait_log("paused", seconds=90)
        assert stage.count("dead_letter") == 0
        assert stage.waiting("purchase") >= 1
    stage.wait_count("dead_letter", 1, seconds=90)
    stage.wait_count(PURCHASES, 1)
    stage.wait_quiet()
