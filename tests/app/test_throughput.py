"""Events a second, of the last minute."""

from __future__ import annotations

import pytest

from app.events.throughput import Throughput


def test_nothing_done_is_nothing_a_second() -> None:
    assert Throughput().per_second(100.0) == 0.0


def test_the_first_minute_is_divided_by_the_time_there_was() -> None:
    throughput = Throughput()
    throughput.add(50, 100.0)
    throughput.add(50, 104.0)
    assert throughput.per_second(110.0) == pytest.approx(10.0)


def test_what_is_older_than_a_minute_does_not_count() -> None:
    throughput = Throughput()
    throughput.add(1000, 100.0)
    throughput.add(60, 150.0)
    assert throughput.per_second(180.0) == pytest.approx(1.0)
    assert throughput.per_second(300.0) == 0.0


def test_a_burst_within_its_first_second_is_not_blown_up() -> None:
    throughput = Throughput()
    throughput.add(10, 100.0)
    assert throughput.per_second(100.001) == pytest.approx(10.0)
