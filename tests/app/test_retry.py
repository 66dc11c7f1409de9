"""How long an event waits for its next attempt, and when there is none."""

from __future__ import annotations

import pytest

from app.events.retry import OUTAGE, Policy


@pytest.mark.parametrize(
    ("attempts", "luck", "seconds"),
    [
        (1, 1.0, 0.5),
        (1, 0.0, 0.25),
        (2, 1.0, 1.0),
        (3, 1.0, 2.0),
        (3, 0.5, 1.5),
        (7, 1.0, 30.0),
        (7, 0.0, 15.0),
        (10**6, 1.0, 30.0),
    ],
)
def test_pauses_double_up_to_the_longest_and_half_of_each_is_luck(
    attempts: int, luck: float, seconds: float
) -> None:
    assert Policy(attempts=3).pause(attempts, luck) == pytest.approx(seconds)


@pytest.mark.parametrize(("spent", "exhausted"), [(1, False), (2, False), (3, True), (4, True)])
def test_the_last_attempt_is_the_last(spent: int, exhausted: bool) -> None:
    assert Policy(attempts=3).exhausted(spent) is exhausted


def test_an_outage_is_waited_for_without_end() -> None:
    assert not OUTAGE.exhausted(10**9)
    assert OUTAGE.pause(10**9, 1.0) == pytest.approx(10.0)
