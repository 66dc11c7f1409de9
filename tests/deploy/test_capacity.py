from __future__ import annotations

import pytest

from deploy.cluster import capacity


@pytest.mark.parametrize(
    ("affinity", "quota", "available"),
    [
        (8, None, 8),
        (1, None, 1),
        (8, 4.0, 4),
        (8, 2.5, 2),
        (8, 0.5, 1),
        (2, 16.0, 2),
    ],
)
def test_available_cpus_are_what_affinity_and_quota_leave(
    affinity: int, quota: float | None, available: int
) -> None:
    assert capacity.available_cpus(affinity, quota) == available


@pytest.mark.parametrize(
    ("asked", "cpus", "workers"),
    [(None, 8, 7), (None, 2, 1), (None, 1, 1), ("max", 8, 8), (3, 2, 3), (1, 64, 1)],
)
def test_worker_count_leaves_one_cpu_unless_a_number_is_asked_for(
    asked: int | str | None, cpus: int, workers: int
) -> None:
    assert capacity.worker_count(asked, cpus) == workers


def test_more_workers_than_cpus_are_warned_of() -> None:
    assert capacity.cpu_warning(4, 4) is None
    warning = capacity.cpu_warning(5, 4)
    assert warning is not None
    assert warning.startswith("5 workers on 4 CPU(s)")


def test_more_memory_than_there_is_is_warned_of() -> None:
    mebibyte = 1024 * 1024
    assert capacity.memory_warning(4, 0, 100 * mebibyte) is None
    assert capacity.memory_warning(4, 512 * mebibyte, None) is None
    assert capacity.memory_warning(4, 512 * mebibyte, 2048 * mebibyte) is None
    warning = capacity.memory_warning(5, 512 * mebibyte, 2048 * mebibyte)
    assert warning is not None
    assert "5 workers × WORKER_MAX_RSS=512M = 2560M, but 2048M" in warning


def test_more_connections_than_postgres_grants_are_warned_of() -> None:
    assert capacity.connections_warning(19, 5, 97) is None
    warning = capacity.connections_warning(20, 5, 97)
    assert warning is not None
    assert "20 workers × DATABASE_POOL_MAX=5 = 100 connections, but Postgres allows 97" in warning
