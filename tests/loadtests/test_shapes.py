from __future__ import annotations

import pytest

from loadtests.shapes import SHAPES


@pytest.mark.parametrize(
    ("shape", "seconds", "users"),
    [
        ("steady", 100, {0: 40, 50: 40, 99.9: 40, 100: None}),
        ("ramp", 100, {0: 1, 20: 10, 40: 20, 80: 40, 99: 40, 100: None}),
        ("spike", 100, {0: 10, 39.9: 10, 40: 40, 59.9: 40, 60: 10, 99: 10, 100: None}),
        ("soak", 100, {0: 1, 5: 20, 10: 40, 99: 40, 101: None}),
        ("soak", 3600, {0: 1, 15: 20, 30: 40, 3599: 40, 3600: None}),  # not six minutes to rise
    ],
)
def test_users_by_second(shape: str, seconds: float, users: dict[float, int | None]) -> None:
    planned = SHAPES[shape](40, seconds)
    assert {second: planned.at(second) for second in users} == users


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("users", [1, 2, 7])
def test_there_is_always_somebody_and_never_one_too_many(shape: str, users: int) -> None:
    planned = SHAPES[shape](users, 7)
    found = [planned.at(tenth / 10) for tenth in range(70)]
    assert set(found) <= set(range(1, users + 1))
    assert max(each for each in found if each) == users
