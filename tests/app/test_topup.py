from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, time, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.consumers import topup
from app.consumers.session import Session
from app.consumers.topup import top_up
from app.db import Connection
from tests.app.chain import add_allocation, allocated, carry_out, meanwhile, migrated
from tests.app.conftest import Sql

TODAY = date(2026, 11, 25)  # a Wednesday
THURSDAY, FRIDAY, MONDAY = date(2026, 11, 26), date(2026, 11, 27), date(2026, 11, 30)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with migrated(database_url) as connection:
        yield connection


def add_sessions(
    connection: Connection, allocation: UUID, days: Sequence[date], status: str = "scheduled"
) -> None:
    for day in days:
        connection.execute(
            "INSERT INTO course_sessions (allocation_id, session_date, session_time, status)"
            " VALUES (%s, %s, '10:00', %s)",
            (allocation, day, status),
        )


def add_course(connection: Connection, *days: date, **columns: Any) -> UUID:
    allocation = add_allocation(connection, **columns)
    add_sessions(connection, allocation, days)
    return allocation


def days(sql: Sql, allocation: UUID) -> list[date]:
    rows = sql("SELECT session_date FROM course_sessions WHERE allocation_id = %s", allocation)
    return sorted(row[0] for row in rows)


def from_monday(count: int) -> list[date]:
    """Weekdays from that Monday on."""
    return [MONDAY + timedelta(days=n + 2 * (n // 5)) for n in range(count)]


def test_a_course_with_two_sessions_left_gets_five_after_the_last(
    connection: Connection, sql: Sql
) -> None:
    course = add_course(connection, date(2026, 11, 24), THURSDAY, FRIDAY, session_time="18:30")
    assert top_up(connection, today=TODAY) == 5
    assert days(sql, course) == [date(2026, 11, 24), THURSDAY, FRIDAY, *from_monday(5)]
    new = "SELECT DISTINCT session_time, status FROM course_sessions WHERE session_date >= %s"
    assert sql(new, MONDAY) == [(time(18, 30), "scheduled")]


def test_a_course_with_three_sessions_left_gets_none(connection: Connection, sql: Sql) -> None:
    course = add_course(connection, THURSDAY, FRIDAY, MONDAY)
    assert top_up(connection, today=TODAY) == 0
    assert days(sql, course) == [THURSDAY, FRIDAY, MONDAY]


def test_todays_session_is_one_that_remains(connection: Connection, sql: Sql) -> None:
    course = add_course(connection, TODAY, THURSDAY, FRIDAY)
    assert top_up(connection, today=TODAY) == 0
    assert top_up(connection, today=THURSDAY) == 5
    assert days(sql, course) == [TODAY, THURSDAY, FRIDAY, *from_monday(5)]


def test_a_course_whose_sessions_are_over_goes_on_after_today(
    connection: Connection, sql: Sql
) -> None:
    course = add_course(connection, date(2026, 10, 1), date(2026, 10, 2))
    assert top_up(connection, today=TODAY) == 7
    assert days(sql, course)[2:] == [THURSDAY, FRIDAY, *from_monday(5)]


@pytest.mark.parametrize("status", ["held", "cancelled"])
def test_only_scheduled_sessions_remain_and_no_day_is_used_twice(
    connection: Connection, sql: Sql, status: str
) -> None:
    course = add_course(connection, THURSDAY)
    add_sessions(connection, course, [FRIDAY, MONDAY], status)
    assert top_up(connection, today=TODAY) == 6
    assert days(sql, course) == [THURSDAY, FRIDAY, *from_monday(7)]


def test_it_can_be_repeated(connection: Connection, sql: Sql) -> None:
    course = add_course(connection, THURSDAY)
    assert top_up(connection, today=TODAY) == 6
    assert [top_up(connection, today=TODAY) for _ in range(2)] == [0, 0]
    assert len(days(sql, course)) == 7


@pytest.mark.parametrize(("status", "added"), [("active", 6), ("completed", 0), ("cancelled", 0)])
def test_only_current_allocations_are_topped_up(
    connection: Connection, status: str, added: int
) -> None:
    add_course(connection, THURSDAY, status=status)
    assert top_up(connection, today=TODAY) == added


def test_a_new_allocation_without_sessions_is_left_to_its_event(
    connection: Connection, sql: Sql
) -> None:
    course = add_allocation(connection)
    assert top_up(connection, today=TODAY) == 0
    sql("UPDATE trainer_allocations SET created_at = now() - interval '59 minutes'")
    assert top_up(connection, today=TODAY) == 0
    # Its event was lost, or given up.
    sql("UPDATE trainer_allocations SET created_at = now() - interval '61 minutes'")
    assert top_up(connection, today=TODAY) == 7
    assert days(sql, course) == [THURSDAY, FRIDAY, *from_monday(5)]
    # When it comes after all there is nothing left to do.
    carry_out(Session(), connection, allocated(course))
    assert len(days(sql, course)) == 7


@pytest.mark.parametrize("zone", ["Etc/GMT-14", "Etc/GMT+12"])  # the first and the last to date
def test_today_is_the_date_in_utc(connection: Connection, sql: Sql, zone: str) -> None:
    connection.execute("SELECT set_config('timezone', %s, false)", (zone,))
    today, courses = date.min, []
    while today != (now := sql("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]):
        today = now  # again, should midnight pass between
        courses = [add_course(connection, today + timedelta(days=n)) for n in (-1, 0)]
        assert top_up(connection, today=None) == 7 + 6
    assert all(len([day for day in days(sql, course) if day >= today]) == 7 for course in courses)


def test_many_courses_are_topped_up_in_pages(
    connection: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topup, "_PAGE", 10)
    for n in range(45):
        add_course(connection, *[THURSDAY, FRIDAY, MONDAY][: 1 + n % 3])
    before = sql("SELECT pg_current_xact_id()::text::bigint")[0][0]
    assert top_up(connection, today=TODAY) == 15 * 6 + 15 * 5
    # One transaction of its own each page, and those of the two questions.
    assert sql("SELECT pg_current_xact_id()::text::bigint")[0][0] - before >= 5
    remaining = "SELECT DISTINCT count(*) FROM course_sessions GROUP BY allocation_id ORDER BY 1"
    assert sql(remaining) == [(3,), (7,)]


def test_a_full_last_page(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topup, "_PAGE", 2)
    for _ in range(4):
        add_course(connection, THURSDAY)
    assert top_up(connection, today=TODAY) == 24
    assert top_up(connection, today=TODAY) == 0


def test_no_courses(connection: Connection) -> None:
    assert top_up(connection, today=TODAY) == 0


def test_while_one_is_under_way_another_does_nothing(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    course = add_course(connection, THURSDAY)
    with Connection.open(database_url) as other:
        other.execute("BEGIN")
        assert other.execute(topup._ALONE).fetchone() == (True,)  # noqa: SLF001 - it is midway
        assert top_up(connection, today=TODAY) is None
        assert days(sql, course) == [THURSDAY]
        other.execute("ROLLBACK")
    assert top_up(connection, today=TODAY) == 6


def test_many_at_once_add_each_session_once(
    connection: Connection, database_url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topup, "_PAGE", 7)
    for _ in range(40):
        add_course(connection, THURSDAY)
    gate = threading.Barrier(4)

    def run(_: int) -> int:
        with Connection.open(database_url) as own:
            gate.wait(30)
            return top_up(own, today=TODAY) or 0

    with ThreadPoolExecutor(4) as threads:
        added = sum(threads.map(run, range(4)))
    # Who gives way to another leaves it the rest.
    assert added + (top_up(connection, today=TODAY) or 0) == 240
    assert sql("SELECT DISTINCT count(*) FROM course_sessions GROUP BY allocation_id") == [(7,)]


def test_a_cancellation_under_way_is_waited_for(
    connection: Connection, database_url: str, sql: Sql
) -> None:
    course = add_course(connection, THURSDAY)
    connection.execute("BEGIN")
    connection.execute("UPDATE trainer_allocations SET status = 'cancelled'")

    def work(other: Connection) -> int | None:
        return top_up(other, today=TODAY)

    with meanwhile(database_url, connection, work) as other:
        connection.execute("COMMIT")
        assert other.result(30) == 0
    assert days(sql, course) == [THURSDAY]
