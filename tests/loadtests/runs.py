"""Runs as the generator reports them, made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtests.measurement import Measurement, Trial
from loadtests.sampler import Sample
from loadtests.tally import Cell, Run


def run(
    answered: Sequence[float] = (10.0,),
    *,
    failed: int = 0,
    seconds: float = 1.0,
    workers: Mapping[str, int] | None = None,
    endpoint: str = "GET /health",
    errors: Mapping[str, int] | None = None,
) -> Run:
    """One whose requests all ended in its first second."""
    return Run(
        began=1000.0,
        seconds=seconds,
        cpu_seconds=0.25,
        cells=(Cell(0, endpoint, tuple(answered), failed),),
        workers={"worker-1": len(answered)} if workers is None else workers,
        errors=errors or {},
    )


def sample(second: float, worker: str = "worker-1", cpu: float = 50.0) -> Sample:
    return Sample(second=second, worker=worker, cpu=cpu, rss=2**20 * 40, pss=2**20 * 20)


def measurement(*runs: Run, mode: str = "fork", workers: int = 1) -> Measurement:
    return Measurement(mode, workers, tuple(Trial(each, [sample(0.5)]) for each in runs))
