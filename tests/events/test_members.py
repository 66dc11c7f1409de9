"""Several members of a group: who joins, who leaves, who is taken for dead."""

from __future__ import annotations

import signal

from tests.events.stage import Stage, confirmed, refusing
from tests.wait import wait_until

PURCHASES = "student_course_purchases"


def test_a_member_that_joins_in_mid_batch_does_not_double_or_lose_it(stage: Stage) -> None:
    stage.consumer("purchase")
    with stage.sql.transaction(force_rollback=True):
        stage.sql.execute(f"LOCK TABLE {PURCHASES} IN ACCESS EXCLUSIVE MODE")
        stage.publish(*(confirmed(f"s-{n}") for n in range(200)))
        wait_until(lambda: _waits_for_lock(stage), what="the first member to be at work")
        stage.consumer("purchase")
    stage.wait_count(PURCHASES, 200)
    stage.wait_quiet()
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 200
    assert stage.count("dead_letter") == 0


def test_a_batch_too_slow_for_one_statement_is_carried_out_while_others_come_and_go(
    stage: Stage,
) -> None:
    first = stage.consumer("purchase")
    with refusing(stage, PURCHASES, "pg_sleep(1) IS NULL"):
        stage.publish(*(confirmed(f"s-{n}") for n in range(6)))
        wait_until(lambda: _sleeps(stage), what="the first member to be at work")
        for _ in range(2):
            assert stage.consumer("purchase").terminate() == 0
        stage.wait_count(PURCHASES, 6)
        stage.wait_quiet()
    assert first.popen.poll() is None
    assert stage.count("dead_letter") == 0


def test_two_members_share_the_work(stage: Stage) -> None:
    for _ in range(2):
        stage.consumer("purchase")
    wait_until(lambda: _both_work(stage), what="both to have carried out events")
    stage.wait_quiet()


def test_a_member_that_is_taken_for_dead_and_wakes_up_doubles_nothing(stage: Stage) -> None:
    first = stage.consumer("purchase")
    with stage.sql.transaction(force_rollback=True):
        stage.sql.execute(f"LOCK TABLE {PURCHASES} IN ACCESS EXCLUSIVE MODE")
        stage.publish(*(confirmed(f"s-{n}") for n in range(100)))
        wait_until(lambda: _waits_for_lock(stage), what="the first member to be at work")
        first.popen.send_signal(signal.SIGSTOP)
    second = stage.consumer("purchase")
    # What the first one was given is the second's when the first one's time is over.
    stage.wait_count(PURCHASES, 100, seconds=90)
    first.popen.send_signal(signal.SIGCONT)
    stage.publish(*(confirmed(f"t-{n}") for n in range(100)))
    stage.wait_count(PURCHASES, 200)
    stage.wait_quiet()
    assert stage.count("outbox", "type = 'PURCHASE_CREATED'") == 200
    assert first.popen.poll() is None
    assert second.terminate() == 0
    stage.publish(*(confirmed(f"u-{n}") for n in range(20)))
    stage.wait_count(PURCHASES, 220)


def _both_work(stage: Stage) -> bool:
    stage.publish(*(confirmed(f"s-{n}") for n in range(30)))
    working = "SELECT count(*) FROM consumer_instance WHERE processed > 0"
    return int(stage.value(working)) == 2


def _sleeps(stage: Stage) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    return bool(stage.value(query))


def _waits_for_lock(stage: Stage) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    return bool(stage.value(query, PURCHASES))
