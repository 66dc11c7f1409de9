from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from app.consumers import admin_service
from app.consumers.admin_service import AdminService, AdminServiceFailed
from app.consumers.admin_stub import AdminStub
from app.consumers.admin_stub_state import Fault
from app.consumers.allocation import Allocation, Purchased
from app.db import Connection
from app.events import Envelope
from app.events.handler import Handler, Rejected, Unreachable
from tests.app.chain import (
    NOON,
    add_allocation,
    at_once,
    changed,
    created,
    meanwhile,
    migrated,
    work_off,
)
from tests.app.conftest import Sql, records_of
from tests.cluster import free_port


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with migrated(database_url) as connection:
        yield connection


@pytest.fixture
def stub() -> Iterator[AdminStub]:
    with AdminStub() as stub:
        yield stub


@pytest.fixture
def allocation(stub: AdminStub) -> Iterator[Allocation]:
    handler = Allocation(admin=AdminService(url=stub.url, timeout=30))
    yield handler
    handler.close()


def carry_out(handler: Handler[Any], connection: Connection, *events: Envelope) -> list[Envelope]:
    """What the framework does with a batch, but for the guard."""
    work = [(event, handler.read(event)) for event in events]
    settled = handler.settled(connection, work)
    called = [(e, handler.call(e, fact)) for e, fact in work if e.event_id not in settled]
    return work_off(handler, connection, called)


ANSWER = admin_service.Allocation(
    allocation_id="a-1", trainer_id="t-1", status="active", session_time=time(9, 15)
)


def answered(event: Envelope, handler: Allocation, name: str = "a-1") -> tuple[Envelope, Purchased]:
    """The event after its call, without one."""
    answer = replace(ANSWER, allocation_id=name)
    return event, replace(handler.read(event), allocated=answer)


def counts(sql: Sql) -> tuple[int, int]:
    """How many allocations, how many events."""
    ((allocations, events),) = sql(
        "SELECT (SELECT count(*) FROM trainer_allocations), (SELECT count(*) FROM outbox)"
    )
    return allocations, events


def test_a_purchase_gets_the_trainer_whom_the_admin_service_names(
    connection: Connection, stub: AdminStub, allocation: Allocation, sql: Sql
) -> None:
    bought = created("s-7", "c-2")
    (told,) = carry_out(allocation, connection, bought)
    (made,) = stub.allocations
    assert (made["student_id"], made["course_id"]) == ("s-7", "c-2")
    assert made["purchase_id"] == bought.payload["purchase_id"]
    assert made["idempotency_key"] == str(bought.event_id)
    assert made["correlation_id"] == str(bought.correlation_id)
    ((allocation_id, *stored),) = sql(
        """
        SELECT id, purchase_id::text, student_id, course_id, trainer_id, admin_allocation_id,
            status, session_time, event_id, correlation_id
        FROM trainer_allocations
        """
    )
    assert stored == [
        *(bought.payload["purchase_id"], "s-7", "c-2", made["trainer_id"], made["allocation_id"]),
        *("approved", time(10, 0), bought.event_id, bought.correlation_id),
    ]
    assert allocation_id == uuid.uuid5(bought.event_id, "allocation")
    assert (told.type, told.version) == ("TRAINER_ALLOCATED", 1)
    assert (told.correlation_id, told.causation_id) == (bought.correlation_id, bought.event_id)
    assert told.event_id == uuid.uuid5(bought.event_id, "TRAINER_ALLOCATED")
    assert abs(datetime.now(UTC) - told.occurred_at) < timedelta(minutes=1)
    assert told.payload == {
        "allocation_id": str(allocation_id),
        "purchase_id": bought.payload["purchase_id"],
        "student_id": "s-7",
        "course_id": "c-2",
        "trainer_id": made["trainer_id"],
        "status": "approved",
        "session_time": "10:00",
    }


def test_an_answer_is_stored_as_it_is(
    connection: Connection, allocation: Allocation, sql: Sql
) -> None:
    (told,) = work_off(allocation, connection, [answered(created(), allocation)])
    assert sql("SELECT status, session_time FROM trainer_allocations") == [("active", time(9, 15))]
    assert (told.payload["status"], told.payload["session_time"]) == ("active", "09:15")


def test_the_courses_of_one_checkout_get_a_trainer_each(
    connection: Connection, allocation: Allocation, sql: Sql
) -> None:
    checkout = uuid.uuid4()
    courses = [created("s-1", course, correlation_id=checkout) for course in ("c-1", "c-2")]
    told = carry_out(allocation, connection, *courses)
    assert {event.payload["course_id"] for event in told} == {"c-1", "c-2"}
    assert {event.correlation_id for event in told} == {checkout}
    assert counts(sql) == (2, 2)


def test_what_is_allocated_already_is_not_asked_for(
    connection: Connection, stub: AdminStub, allocation: Allocation, sql: Sql
) -> None:
    bought = created()
    carry_out(allocation, connection, bought)
    with records_of("app.consumers") as records:
        assert carry_out(allocation, connection, bought, bought) == []
    assert records == []
    assert stub.requests == 1
    assert counts(sql) == (1, 1)


@pytest.mark.parametrize("status", ["cancelled", "completed"])
def test_a_replay_does_not_revive_an_allocation_that_is_over(
    connection: Connection, stub: AdminStub, allocation: Allocation, sql: Sql, status: str
) -> None:
    bought = created()
    carry_out(allocation, connection, bought)
    sql("UPDATE trainer_allocations SET status = %s", status)
    with records_of("app.consumers") as records:
        assert carry_out(allocation, connection, bought) == []
        # Also when it was called for before the row was there.
        assert work_off(allocation, connection, [answered(bought, allocation)]) == []
    assert records == []
    assert stub.requests == 1
    assert counts(sql) == (1, 1)
    assert len(carry_out(allocation, connection, created())) == 1, "another purchase"


@pytest.mark.parametrize("status", ["approved", "active"])
def test_a_second_purchase_of_an_allocated_course_makes_nothing_but_a_warning(
    connection: Connection, stub: AdminStub, allocation: Allocation, sql: Sql, status: str
) -> None:
    add_allocation(connection, student_id="s-1", course_id="c-1", status=status)
    again, other = created("s-1", "c-1"), created("s-1", "c-2")
    with records_of("app.consumers") as records:
        (told,) = carry_out(allocation, connection, again, other)
    assert told.causation_id == other.event_id
    assert stub.requests == 1
    (record,) = records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "Student 's-1' has course 'c-1' with a trainer already: the admin service is not asked"
    )
    fields = vars(record)
    assert fields["event"] == "allocation.repeated"
    assert fields["correlation_id"] == str(again.correlation_id)
    assert fields["event_id"] == str(again.event_id)
    assert counts(sql) == (2, 1)


def test_of_two_purchases_in_one_batch_the_earlier_gets_the_trainer(
    connection: Connection, allocation: Allocation, sql: Sql
) -> None:
    late, early = created(occurred_at=NOON + timedelta(seconds=1)), created()
    work = [answered(late, allocation, "a-late"), answered(early, allocation, "a-early")]
    with records_of("app.consumers") as records:
        (told,) = work_off(allocation, connection, work)
    assert told.causation_id == early.event_id
    (record,) = records
    assert record.getMessage() == (
        "Student 's-1' has course 'c-1' with a trainer already: 'a-late' is not used"
    )
    assert vars(record)["event_id"] == str(late.event_id)
    assert counts(sql) == (1, 1)


def test_many_at_once_are_one_batch(
    connection: Connection, allocation: Allocation, sql: Sql
) -> None:
    work = [answered(created(f"s-{n}"), allocation) for n in range(300)]
    told = work_off(allocation, connection, work)
    assert [event.causation_id for event in told] == [event.event_id for event, _ in work]
    assert work_off(allocation, connection, work[::-1]) == []
    facts = [(event, allocation.read(event)) for event, _ in work]
    assert allocation.settled(connection, facts) == {event.event_id for event, _ in work}
    assert counts(sql) == (300, 300)
    assert work_off(allocation, connection, []) == []
    assert allocation.settled(connection, []) == set()


class Answered(Allocation):
    """As if every call had been made."""

    def read(self, event: Envelope) -> Purchased:
        return replace(super().read(event), allocated=ANSWER)


def test_instances_with_the_same_and_with_other_purchases_allocate_each_course_once(
    connection: Connection, allocation: Allocation, database_url: str, sql: Sql
) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    students = [f"s-{n}" for n in range(80)]
    same = [created(student) for student in students]
    others = [[created(student) for student in students] for _ in range(2)]
    batches = [chance.sample(batch, 80) for batch in (same, same, *others)]
    told = at_once(database_url, Answered(admin=AdminService(url="http://127.0.0.1")), batches)
    assert sorted(event.payload["student_id"] for event in told) == sorted(students)
    assert counts(sql) == (80, 80)


def test_an_instance_that_waits_keeps_nobody_from_what_comes_later(
    connection: Connection, allocation: Allocation, database_url: str, sql: Sql
) -> None:
    first, later = (answered(created(student), allocation) for student in ("s-1", "s-2"))
    connection.execute("BEGIN")
    allocation.write(connection, [first])

    def work(own: Connection) -> list[Envelope]:
        return work_off(allocation, own, [later, first])

    with meanwhile(database_url, connection, work) as other:
        # Had the other instance begun with this one, both would wait for each other.
        told = allocation.write(connection, [later])
        connection.execute("COMMIT")
        assert other.result(30) == []
    assert [event.causation_id for event in told] == [later[0].event_id]
    assert counts(sql) == (2, 0)


def test_what_was_not_called_for_is_not_written(
    connection: Connection, allocation: Allocation, sql: Sql
) -> None:
    bought = created()
    assert work_off(allocation, connection, [(bought, allocation.read(bought))]) == []
    assert counts(sql) == (0, 0)


def test_a_call_that_fails_says_how(stub: AdminStub, allocation: Allocation) -> None:
    bought = created()
    fact = allocation.read(bought)
    stub.fault(Fault(status=500))
    with pytest.raises(AdminServiceFailed):
        allocation.call(bought, fact)
    stub.fault(Fault(status=422))
    with pytest.raises(Rejected):
        allocation.call(bought, fact)
    allocated = allocation.call(bought, fact).allocated
    assert allocated is not None
    assert stub.requests == 3
    away = Allocation(admin=AdminService(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unreachable):
        away.call(bought, fact)


def test_a_call_that_is_made_again_gets_the_same_trainer(
    stub: AdminStub, allocation: Allocation
) -> None:
    bought = created()
    fact = allocation.read(bought)
    assert allocation.call(bought, fact) == allocation.call(bought, fact)
    assert len(stub.allocations) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("purchase_id", "must be a UUID"),
        ("student_id", "must be a text of 1 to 200 characters, without NUL"),
        ("course_id", "must be a text of 1 to 200 characters, without NUL"),
    ],
)
@pytest.mark.parametrize("value", [..., None, "", "x" * 201, 7, []])
def test_a_bad_field_is_named(allocation: Allocation, name: str, why: str, value: Any) -> None:
    with pytest.raises(Rejected) as refusal:
        allocation.read(changed(created(), **{name: value}))
    assert str(refusal.value) == f"{name}: {why}"


def test_a_shape_that_is_not_known_is_refused(allocation: Allocation) -> None:
    with pytest.raises(Rejected, match=r"^version: must be 1, not 3$"):
        allocation.read(created(version=3))


def test_how_it_is_run(allocation: Allocation) -> None:
    assert (allocation.name, allocation.group) == ("allocation", "trainer-allocation-workers")
    assert (allocation.type, allocation.policy.attempts) == ("PURCHASE_CREATED", 5)
    assert allocation.calls == 8
