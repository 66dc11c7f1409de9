"""On which days a course takes place. Pure."""

from __future__ import annotations

from datetime import date, timedelta

AHEAD = 7  # sessions that are scheduled at once
_SATURDAY = 5


def next_days(after: date, count: int) -> list[date]:
    """The first `count` days after that one which are neither Saturdays nor Sundays.

    Raises OverflowError when the calendar ends before.
    """
    days: list[date] = []
    day = after
    while len(days) < count:
        day += timedelta(days=1)
        if day.weekday() < _SATURDAY:
            days.append(day)
    return days
