"""CPU and memory of each worker while a server is under load, as the operator's command says."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from loadtests.server import Server
from loadtests.tally import Run


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One worker at one moment; NaN where the kernel did not tell."""

    second: float  # when it was taken: Unix time, or within a run (see `within`)
    worker: str
    cpu: float  # percent of one CPU, over the second before
    rss: float  # bytes
    pss: float  # bytes; memory shared by n processes counts 1/n


class Sampler:
    """Samples a server once a second, in a thread, while the `with` block runs.

    The command costs about a tenth of a second of CPU each time, whatever the mode.
    """

    SECONDS = 1.0

    def __init__(self, server: Server):
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="sampler", daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _main(self) -> None:
        while not self._over.is_set():
            facts = self._server.status(self.SECONDS)
            if facts is None:  # asked again, but not in a hurry
                self._over.wait(self.SECONDS)
            else:
                self.samples += read(facts, time.time())


def read(facts: Mapping[str, Any], at: float) -> Iterable[Sample]:
    """One sample for each worker with a process; pure."""
    for slot in facts.get("slots", ()):
        if slot.get("pid") and slot.get("state") == "ready":
            yield Sample(
                second=at,
                worker=str(slot["worker"]),
                cpu=_number(slot.get("cpu_percent")),
                rss=_number(slot.get("rss")),
                pss=_number(slot.get("pss")),
            )


def within(samples: Iterable[Sample], run: Run) -> list[Sample]:
    """Those whose whole second lies within the run, by the run's own clock; pure."""
    moved = (replace(sample, second=sample.second - run.began) for sample in samples)
    return [sample for sample in moved if Sampler.SECONDS <= sample.second <= run.seconds]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
