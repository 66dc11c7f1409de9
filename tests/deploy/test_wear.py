from __future__ import annotations

import pytest

from deploy.cluster.wear import Limits, worn


@pytest.mark.parametrize(
    ("limits", "requests", "rss", "uptime", "why"),
    [
        (Limits(), 10**9, 1 << 50, 1e9, ""),
        (Limits(requests=100), 99, 1 << 50, 1e9, ""),
        (Limits(requests=100), 100, 0, 0.0, "max requests"),
        (Limits(rss=100), 10**9, 100, 1e9, ""),
        (Limits(rss=100), 0, 101, 0.0, "memory limit"),
        (Limits(lifetime=60.0), 10**9, 1 << 50, 59.9, ""),
        (Limits(lifetime=60.0), 0, 0, 60.0, "max lifetime"),
        (Limits(requests=1, rss=1, lifetime=1.0), 0, 0, 0.0, ""),
    ],
)
def test_a_worker_is_worn_at_its_limit_and_0_is_none(
    limits: Limits, requests: int, rss: int, uptime: float, why: str
) -> None:
    assert worn(limits, requests=requests, rss=rss, uptime=uptime) == why


def test_of_several_limits_the_first_is_named() -> None:
    assert worn(Limits(requests=1, rss=1, lifetime=1.0), requests=1, rss=2, uptime=1.0) == (
        "max requests"
    )


def test_jitter_only_ever_adds_up_to_a_tenth_and_never_to_memory() -> None:
    for _ in range(500):
        drawn = Limits.drawn(requests=1000, rss=512 << 20, lifetime=3600.0)
        assert 1000 <= drawn.requests <= 1100
        assert drawn.rss == 512 << 20
        assert 3600.0 <= drawn.lifetime <= 3960.0


def test_workers_that_started_together_do_not_retire_together() -> None:
    drawn = [Limits.drawn(requests=10_000, rss=0, lifetime=43200.0) for _ in range(50)]
    assert len({limits.requests for limits in drawn}) > 1
    assert len({limits.lifetime for limits in drawn}) > 1


@pytest.mark.parametrize("requests", [0, 1, 5, 9])
def test_a_limit_that_is_off_stays_off_and_a_small_one_exact(requests: int) -> None:
    drawn = Limits.drawn(requests=requests, rss=0, lifetime=0.0)
    assert drawn == Limits(requests=requests)
