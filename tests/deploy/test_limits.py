"""What the machine and the database grant: a warning that cannot be had costs nothing else."""

from __future__ import annotations

import logging
import sys

import pytest

from deploy.cluster.limits import Limits


def test_a_missing_interpreter_costs_the_warning_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As after the release on disk was removed below a running master.
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/none")
    limits = Limits(logging.getLogger(__name__))
    limits.check(2, worker_max_rss=0)
    assert not limits.reaped(1)
