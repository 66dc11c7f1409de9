from __future__ import annotations

from datetime import date

import pytest

from app.consumers.schedule import next_days

# November 2026 begins on a Sunday.
MONDAY, WEDNESDAY, FRIDAY = date(2026, 11, 23), date(2026, 11, 25), date(2026, 11, 27)
SATURDAY, SUNDAY = date(2026, 11, 28), date(2026, 11, 29)


@pytest.mark.parametrize(
    ("after", "count", "days"),
    [
        (MONDAY, 0, []),
        (MONDAY, 1, ["2026-11-24"]),
        (MONDAY, 4, ["2026-11-24", "2026-11-25", "2026-11-26", "2026-11-27"]),
        (WEDNESDAY, 3, ["2026-11-26", "2026-11-27", "2026-11-30"]),
        (FRIDAY, 2, ["2026-11-30", "2026-12-01"]),
        (SATURDAY, 2, ["2026-11-30", "2026-12-01"]),
        (SUNDAY, 1, ["2026-11-30"]),
        (date(2026, 12, 31), 2, ["2027-01-01", "2027-01-04"]),
        (date(2028, 2, 28), 2, ["2028-02-29", "2028-03-01"]),
        (date(2027, 2, 26), 1, ["2027-03-01"]),
    ],
)
def test_the_days_after(after: date, count: int, days: list[str]) -> None:
    assert [str(day) for day in next_days(after, count)] == days


@pytest.mark.parametrize("offset", range(7))
def test_seven_days_from_any_day_of_the_week(offset: int) -> None:
    after = date.fromordinal(MONDAY.toordinal() + offset)
    days = next_days(after, 7)
    assert len(set(days)) == 7
    assert days == sorted(days)
    assert days[0] > after
    assert {day.isoweekday() for day in days} == {1, 2, 3, 4, 5}
    # None is left out: the first seven weekdays lie within eleven days at most.
    assert (days[-1] - after).days <= 11


def test_the_end_of_the_calendar() -> None:
    with pytest.raises(OverflowError):
        next_days(date.max, 1)
