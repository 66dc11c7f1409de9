"""Servers and results that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.worker.case import Case
from tests.worker.record import differences
from tests.worker.stage import Pair, Two, results
from tests.worker.variants import Variant

_SHOWN = 3  # differences that are told in full
Results = Callable[[Variant], dict[str, Two]]


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What both servers did in the cases of a variant; the first who asks has them played."""
    base = tmp_path_factory.getbasetemp()
    # The processes of xdist have directories of their own below a common one.
    shared: Path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "worker"
    shared.mkdir(exist_ok=True)
    found: dict[str, dict[str, Two]] = {}

    def play(variant: Variant) -> dict[str, Two]:
        if variant.name not in found:
            found[variant.name] = results(shared, variant)
        return found[variant.name]

    return play


def fail_on_difference(servers: Pair, cases: Sequence[Case]) -> None:
    """Plays the cases to both, and names those in which they differ, the first ones in full."""
    different = [
        (case, found)
        for case, two in zip(cases, servers.play_all(cases), strict=True)
        if (found := differences(two.ours, two.stock))
    ]
    if different:
        texts = ["\n".join((case.name, str(case.steps), *found)) for case, found in different]
        pytest.fail("\n\n".join((f"{len(texts)} differ", *texts[:_SHOWN])), pytrace=False)
