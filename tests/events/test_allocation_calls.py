"""The one step that leaves the house: calls to the admin service, and their faults."""

from __future__ import annotations

from app.consumers.admin_stub import AdminStub
from app.consumers.admin_stub_state import Fault
from tests.cluster import free_port
from tests.events.stage import Stage


def test_an_allocation_that_succeeded_though_its_answer_was_late_is_one_allocation(
    stage: Stage, admin: AdminStub
) -> None:
    admin.fault(Fault(delay_s=3, times=1))
    stage.consumer("purchase")
    stage.consumer("allocation", program="short_timeout.py")
    stage.pay("s-1", "c-1")
    stage.wait_count("trainer_allocations", 1)
    stage.wait_quiet()
    assert len(admin.allocations) == 1
    assert admin.requests == 2
    assert stage.total("retried", "allocation") == 1
    told = stage.value("SELECT admin_allocation_id FROM trainer_allocations")
    assert told == admin.allocations[0]["allocation_id"]
    assert stage.count("outbox", "type = 'TRAINER_ALLOCATED'") == 1


def test_an_admin_service_that_fails_costs_attempts_and_one_that_is_away_costs_none(
    stage: Stage, admin: AdminStub
) -> None:
    stage.configure(admin_service_url=f"http://127.0.0.1:{free_port()}")
    stage.consumer("purchase")
    away = stage.consumer("allocation")
    stage.pay("s-1", "c-1")
    away.wait_log("waits", times=3)
    assert stage.count("event_failure") == 0
    away.kill()
    admin.fault(Fault(status=503, times=2))
    stage.configure(admin_service_url=admin.url)
    stage.consumer("allocation")
    stage.wait_count("trainer_allocations", 1)
    stage.wait_quiet()
    assert stage.total("retried", "allocation") == 2
    assert stage.count("dead_letter") == 0


def test_what_the_admin_service_refuses_is_a_dead_letter_after_one_call(
    stage: Stage, admin: AdminStub
) -> None:
    admin.fault(Fault(status=422, times=1, student_id="s-1"))
    stage.consumer("purchase", "allocation")
    stage.pay("s-1", "c-1")
    stage.pay("s-2", "c-1")
    stage.wait_count("dead_letter", 1)
    stage.wait_count("trainer_allocations", 1)
    stage.wait_quiet()
    assert stage.value("SELECT attempts FROM dead_letter") == 1
    assert admin.requests == 2


def test_an_admin_service_that_always_fails_is_asked_five_times(
    stage: Stage, admin: AdminStub
) -> None:
    admin.fault(Fault(status=500, times=1000))
    stage.consumer("purchase")
    stage.consumer("allocation", program="short_timeout.py")
    stage.pay("s-1", "c-1")
    stage.wait_count("dead_letter", 1, seconds=90)
    stage.wait_quiet()
    assert stage.value("SELECT attempts FROM dead_letter") == 5
    assert admin.requests == 5
    assert stage.count("trainer_allocations") == 0
