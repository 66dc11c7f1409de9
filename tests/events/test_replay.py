"""A replay of the whole history changes nothing, even when the guard has forgotten it."""

from __future__ import annotations

import pytest

from app.consumers import pipeline
from app.consumers.admin_stub import AdminStub
from tests.events.stage import Stage

TABLES = ("student_course_purchases", "trainer_allocations", "course_sessions", "outbox")


@pytest.mark.parametrize("purged", [False, True], ids=["guarded", "purged"])
def test_a_replay_from_the_beginning_makes_no_row_no_emission_and_no_call(
    stage: Stage, admin: AdminStub, purged: bool
) -> None:
    consumers = stage.consumer(*pipeline.NAMES)
    for n in range(10):
        stage.pay(f"s-{n}", "c-1", "c-2")
    stage.wait_count("course_sessions", 140)
    stage.wait_quiet()
    # One of them is over by now: what made it must not make it anew.
    stage.sql.execute(
        "UPDATE student_course_purchases SET is_active = false WHERE student_id = 's-3'"
    )
    stage.sql.execute(
        "UPDATE trainer_allocations SET status = 'completed' WHERE student_id = 's-3'"
    )
    before = [stage.count(table) for table in TABLES], admin.requests
    assert consumers.terminate() == 0
    if purged:
        stage.sql.execute("DELETE FROM processed_events")
    for name in pipeline.NAMES:
        done = stage.command("replay", "--group", name, "--from", "beginning", "--yes")
        assert done.returncode == 0, done.stderr
        assert stage.waiting(name) >= 20
    stage.consumer(*pipeline.NAMES)
    stage.wait_quiet()
    assert ([stage.count(table) for table in TABLES], admin.requests) == before
    assert stage.count("dead_letter") == 0
    assert stage.count("processed_events") == 80
