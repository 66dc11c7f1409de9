"""A consumer that is killed at the worst moments: nothing is lost, nothing happens twice."""

from __future__ import annotations

import signal

import pytest

from tests.events.stage import Stage, confirmed
from tests.wait import wait_until

PURCHASES = "student_course_purchases"


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
def test_a_consumer_killed_around_its_commit_leaves_one_row_and_one_emission(
    stage: Stage, point: str
) -> None:
    stage.pay("s-1", "c-1", "c-2", "c-3")
    first = stage.consumer(point, "purchase", program="dies.py", wait=False)
    assert first.wait() == -signal.SIGKILL
    stage.consumer("purchase")
    stage.wait_count(PURCHASES, 3)
    stage.wait_quiet()
    assert stage.count(PURCHASES) == 3
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 3
    assert stage.count("processed_events", "consumer = 'purchase'") == 3
    redelivered = stage.total("redelivered", "purchase")
    assert (redelivered > 0) == (point == "after-commit")


def test_a_dead_letter_of_a_consumer_killed_after_its_publication_is_kept_once(
    stage: Stage,
) -> None:
    stage.publish_bytes(b"no event", topic="purchase-confirmed")
    first = stage.consumer("after-dead-letter", "purchase", program="dies.py", wait=False)
    assert first.wait() == -signal.SIGKILL
    assert stage.count("dead_letter") == 0
    stage.consumer("purchase")
    stage.wait_count("dead_letter", 1)
    stage.wait_quiet()
    assert stage.count("dead_letter") == 1


def test_a_consumer_that_is_told_to_end_finishes_and_leaves_nothing_to_redeliver(
    stage: Stage,
) -> None:
    first = stage.consumer("purchase")
    stage.append(*(confirmed(f"s-{n}") for n in range(500)))
    wait_until(lambda: stage.count(PURCHASES) > 0, what="the first purchase")
    assert first.terminate() == 0
    stage.consumer("purchase")
    stage.wait_count(PURCHASES, 500)
    stage.wait_quiet()
    assert stage.total("redelivered", "purchase") == 0
    assert "left the group" in first.log
