"""Courses that run out of sessions get further ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Any
from uuid import UUID

import psycopg

from app.consumers.schedule import AHEAD, next_days

_FEWEST = 3  # scheduled sessions that remain; with fewer there are further ones
_PAGE = 500  # allocations in one transaction
_FIRST = UUID(int=0)

# One at a time, here and on other machines. It ends with the transaction, hence also when its
# holder is killed, and behind a pooler that gives out transactions.
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended('smart-factory.top-up', 0))"

_TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"

# is_due: the first sessions are the session consumer's, whose event may only be on its way. After
# an hour it was given up perhaps, and the course would never begin.
_LOOK = """
SELECT allocation.id, allocation.session_time,
    (SELECT count(*) FROM course_sessions
        WHERE allocation_id = allocation.id AND status = 'scheduled' AND session_date >= %(today)s
    ) AS remaining,
    last.day,
    last.day IS NOT NULL OR allocation.created_at < now() - interval '1 hour' AS is_due
FROM trainer_allocations AS allocation
CROSS JOIN LATERAL (
    SELECT max(session_date) AS day FROM course_sessions WHERE allocation_id = allocation.id
) AS last
"""

_LOOK_AT_PAGE = f"""{_LOOK}
WHERE allocation.status IN ('approved', 'active') AND allocation.id > %(after)s
ORDER BY allocation.id
LIMIT %(most)s
"""

_LOOK_AGAIN = f"{_LOOK} WHERE allocation.id = ANY(%(locked)s::uuid[])"

# As the session consumer's: until the commit nobody cancels them or schedules for them. Only those
# that are short are locked, and looked at again after that.
_LOCK = """
SELECT id
FROM trainer_allocations
WHERE id = ANY(%(short)s::uuid[]) AND status IN ('approved', 'active')
ORDER BY id
FOR NO KEY UPDATE
"""

_INSERT = """
INSERT INTO course_sessions (allocation_id, session_date, session_time)
SELECT *
FROM unnest(%(allocation_id)s::uuid[], %(session_date)s::date[], %(session_time)s::time[])
    AS given (allocation_id, session_date, session_time)
ORDER BY allocation_id, session_date, session_time
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class _Course:
    """One allocation and what it has."""

    allocation_id: UUID
    time: time
    remaining: int
    last_day: date | None
    is_due: bool

    @property
    def is_short(self) -> bool:
        return self.is_due and self.remaining < _FEWEST

    def further_days(self, today: date) -> list[date]:
        return next_days(max(self.last_day or today, today), AHEAD - self.remaining)


def top_up(connection: psycopg.Connection[Any], *, today: date | None = None) -> int | None:
    """Schedules sessions where fewer than 3 remain, until 7 do; how many, None: another does it.

    `connection` is in autocommit mode: each page of allocations is a transaction. `today` is the
    database's date in UTC unless given. When another one comes between two pages, that one goes on.
    """
    today = today or _value(connection, _TODAY)
    added, after = 0, _FIRST
    while True:
        with connection.transaction():
            if not _value(connection, _ALONE):
                return added if after != _FIRST else None
            page = _look(connection, _LOOK_AT_PAGE, today=today, after=after, most=_PAGE)
            added += _schedule(connection, [course for course in page if course.is_short], today)
        if len(page) < _PAGE:
            return added
        after = page[-1].allocation_id


def _schedule(connection: psycopg.Connection[Any], short: list[_Course], today: date) -> int:
    if not short:
        return 0
    ids = {"short": [course.allocation_id for course in short]}
    locked = [row[0] for row in connection.execute(_LOCK, ids)]
    courses = _look(connection, _LOOK_AGAIN, today=today, locked=locked)
    rows = [
        (course.allocation_id, day, course.time)
        for course in courses
        if course.is_short
        for day in course.further_days(today)
    ]
    if not rows:
        return 0
    allocation_ids, days, times = map(list, zip(*rows, strict=True))
    values = {"allocation_id": allocation_ids, "session_date": days, "session_time": times}
    return connection.execute(_INSERT, values).rowcount


def _look(connection: psycopg.Connection[Any], statement: str, **values: object) -> list[_Course]:
    return [_Course(*row) for row in connection.execute(statement, values)]


def _value(connection: psycopg.Connection[Any], statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]
