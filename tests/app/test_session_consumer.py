from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from app.consumers.session import AllocationMissingError, Session
from app.db import Connection
from app.events.handler import Rejected
from tests.app.chain import (
    NOON,
    add_allocation,
    allocated,
    at_once,
    carry_out,
    carrying_out,
    changed,
    meanwhile,
    migrated,
)
from tests.app.conftest import Sql, records_of

# After a Wednesday.
SEVEN = [
    date(2026, 11, 26),
    date(2026, 11, 27),
    *(date(2026, 11, 30) + timedelta(n) for n in range(5)),
]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with migrated(database_url) as connection:
        yield connection


def sessions(sql: Sql, allocation: UUID) -> list[tuple[Any, ...]]:
    return sql(
        """
        SELECT session_date, session_time, status FROM course_sessions
        WHERE allocation_id = %s ORDER BY 1, 2
        """,
        allocation,
    )


def days(sql: Sql, allocation: UUID) -> list[date]:
    return [row[0] for row in sessions(sql, allocation)]


def test_an_allocation_gets_the_next_seven_weekdays(connection: Connection, sql: Sql) -> None:
    allocation = add_allocation(connection)
    told = carry_out(Session(), connection, allocated(allocation, session_time="17:45"))
    assert told == []
    assert sessions(sql, allocation) == [(day, time(17, 45), "scheduled") for day in SEVEN]


@pytest.mark.parametrize("status", ["approved", "active"])
def test_an_allocation_that_is_current(connection: Connection, sql: Sql, status: str) -> None:
    allocation = add_allocation(connection, status=status)
    carry_out(Session(), connection, allocated(allocation))
    assert days(sql, allocation) == SEVEN


def test_the_day_of_the_event_is_that_of_utc(connection: Connection, sql: Sql) -> None:
    # Thursday in Auckland, Wednesday in UTC
    early = datetime(2026, 11, 26, 8, 0, tzinfo=timezone(timedelta(hours=13)))
    assert early.astimezone(UTC).date() == NOON.date()
    allocation = add_allocation(connection)
    carry_out(Session(), connection, allocated(allocation, occurred_at=early))
    assert days(sql, allocation) == SEVEN


def test_an_event_that_comes_again_schedules_nothing(connection: Connection, sql: Sql) -> None:
    allocation = add_allocation(connection)
    told = allocated(allocation)
    carry_out(Session(), connection, told, told)
    carry_out(Session(), connection, told)
    assert days(sql, allocation) == SEVEN
    sql("UPDATE course_sessions SET status = 'held'")
    carry_out(Session(), connection, told)
    assert {row[2] for row in sessions(sql, allocation)} == {"held"}
    assert days(sql, allocation) == SEVEN


def test_a_replay_does_not_restore_what_was_moved_or_removed(
    connection: Connection, sql: Sql
) -> None:
    allocation = add_allocation(connection)
    told = allocated(allocation)
    carry_out(Session(), connection, told)
    sql("DELETE FROM course_sessions WHERE session_date = %s", SEVEN[0])
    sql("UPDATE course_sessions SET session_time = '18:00' WHERE session_date = %s", SEVEN[1])
    before = sessions(sql, allocation)
    carry_out(Session(), connection, told)
    assert sessions(sql, allocation) == before


def test_many_at_once_are_one_batch(connection: Connection, sql: Sql) -> None:
    allocations = [add_allocation(connection) for _ in range(200)]
    carry_out(Session(), connection, *(allocated(each) for each in allocations))
    assert sql("SELECT count(*), count(DISTINCT allocation_id) FROM course_sessions") == [
        (1400, 200)
    ]
    assert carry_out(Session(), connection) == []


@pytest.mark.parametrize("status", ["cancelled", "completed"])
def test_an_allocation_that_is_over_gets_no_sessions(
    connection: Connection, sql: Sql, status: str
) -> None:
    over, current = add_allocation(connection, status=status), add_allocation(connection)
    told = allocated(over)
    with records_of("app.consumers") as records:
        carry_out(Session(), connection, told, allocated(current))
    assert days(sql, over) == []
    assert days(sql, current) == SEVEN
    (record,) = records
    assert record.getMessage() == f"Allocation {over} is not current any more: no sessions"
    fields = vars(record)
    assert fields["event"] == "session.not_scheduled"
    assert fields["correlation_id"] == str(told.correlation_id)
    assert fields["event_id"] == str(told.event_id)


def test_an_allocation_that_is_not_there_is_named(connection: Connection, sql: Sql) -> None:
    there, missing = add_allocation(connection), uuid.uuid4()
    with pytest.raises(AllocationMissingError) as failure:
        carry_out(Session(), connection, allocated(there), allocated(missing))
    assert str(failure.value) == f"allocation {missing} is not there"
    assert sql("SELECT count(*) FROM course_sessions") == [(0,)]
    carry_out(Session(), connection, allocated(there))
    assert days(sql, there) == SEVEN


def test_instances_with_the_same_events_in_any_order_schedule_once(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    told = [allocated(add_allocation(connection)) for _ in range(60)]
    at_once(database_url, Session(), [told, told[::-1], told[30:] + told[:30]])
    assert sql("SELECT count(*), count(DISTINCT allocation_id) FROM course_sessions") == [(420, 60)]


def test_a_cancellation_under_way_is_waited_for(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    allocation = add_allocation(connection)
    connection.execute("BEGIN")
    connection.execute("UPDATE trainer_allocations SET status = 'cancelled'")
    with meanwhile(
        database_url, connection, carrying_out(Session(), allocated(allocation))
    ) as other:
        connection.execute("COMMIT")
        other.result(30)
    assert days(sql, allocation) == []


def test_another_instance_that_schedules_is_waited_for(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    allocation = add_allocation(connection)
    told, again = allocated(allocation), allocated(allocation, occurred_at=NOON + timedelta(days=9))
    connection.execute("BEGIN")
    Session().write(connection, [(told, Session().read(told))])
    with meanwhile(database_url, connection, carrying_out(Session(), again)) as other:
        connection.execute("COMMIT")
        other.result(30)
    assert days(sql, allocation) == SEVEN


@pytest.mark.parametrize("value", [..., None, "", "x", 7, True, []])
def test_a_bad_id_is_named(value: Any) -> None:
    with pytest.raises(Rejected, match=r"^allocation_id: must be a UUID$"):
        Session().read(changed(allocated(uuid.uuid4()), allocation_id=value))


@pytest.mark.parametrize(
    "value", [..., None, "", "9:00", "24:00", "10:60", "10:00:00", "10:00\n", "١٠:00", 10, []]
)
def test_a_bad_time_is_named(value: Any) -> None:
    with pytest.raises(Rejected, match=r'^session_time: must be a time from "00:00" to "23:59"$'):
        Session().read(changed(allocated(uuid.uuid4()), session_time=value))


def test_a_day_at_the_end_of_the_calendar_is_refused() -> None:
    with pytest.raises(Rejected, match=r"^occurred_at: "):
        Session().read(allocated(uuid.uuid4(), occurred_at=datetime(9999, 12, 28, tzinfo=UTC)))


def test_a_shape_that_is_not_known_is_refused() -> None:
    with pytest.raises(Rejected, match=r"^version: must be 1, not 2$"):
        Session().read(allocated(uuid.uuid4(), version=2))


def test_how_it_is_run() -> None:
    handler = Session()
    assert (handler.name, handler.group) == ("session", "session-scheduling-workers")
    assert (handler.type, handler.policy.attempts) == ("TRAINER_ALLOCATED", 3)
    assert handler.calls == 0
