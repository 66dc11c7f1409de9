"""A CPU for each worker."""

from __future__ import annotations

import os

import pytest

from deploy.cluster import affinity


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, message: str, *values: object) -> None:
        self.lines.append(message % values)


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ({0, 1, 2, 3}, [3, 2, 1, 0, 3]),  # with a worker fewer than CPUs the interrupts' is free
        ({4, 6}, [6, 4, 6, 4, 6]),
        ({7}, [7, 7, 7, 7, 7]),
    ],
)
def test_workers_are_spread_over_the_cpus_that_are_allowed(
    allowed: set[int], expected: list[int]
) -> None:
    assert [affinity.cpu_of(slot, allowed) for slot in range(1, 6)] == expected


def test_where_the_system_refuses_a_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, cpus: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    log = Log()
    affinity.settle(1, log)
    assert log.lines == [
        "WORKER_AFFINITY=cpu has no effect here: [Errno 1] Operation not permitted"
    ]
