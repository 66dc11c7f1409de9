"""What the runs against one server measured, and how two servers compare; pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from loadtests.report import percentile
from loadtests.sampler import Sample
from loadtests.tally import Cell, Run


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The requests to one endpoint; milliseconds, NaN where nothing was answered."""

    name: str
    requests: int
    failed: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Second:
    """One second under load; seconds of several runs are counted on, without the pauses between."""

    second: int
    answered: int
    failed: int
    p50: float  # milliseconds; NaN where nothing was answered
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Load:
    """A worker's part of the work; NaN where no sample tells."""

    worker: str
    answered: int
    cpu: float  # percent of one CPU, the mean
    rss: float  # bytes, the most
    pss: float


@dataclass(frozen=True)
class Trial:
    """One run against one server, with the samples taken meanwhile."""

    run: Run
    samples: Sequence[Sample]  # `second` is within the run


@dataclass(frozen=True)
class Measurement:
    """All trials of one server, in order."""

    mode: str
    workers: int
    trials: tuple[Trial, ...]

    @property
    def seconds(self) -> float:
        """How long it was under load."""
        return sum(trial.run.seconds for trial in self.trials)

    @property
    def answered(self) -> int:
        """Requests answered as they should be."""
        return sum(len(cell.answered) for cell in self._cells)

    @property
    def failed(self) -> int:
        return sum(cell.failed for cell in self._cells)

    @property
    def throughput(self) -> float:
        """Right answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def error_rate(self) -> float:
        """Percent of the requests; NaN when there was none."""
        sent = self.answered + self.failed
        return 100 * self.failed / sent if sent else math.nan

    @property
    def generator_cpu(self) -> float:
        """Percent of one CPU that the generator itself used."""
        used = sum(trial.run.cpu_seconds for trial in self.trials)
        return 100 * used / self.seconds if self.seconds else math.nan

    @property
    def fairness(self) -> float:
        """The least busy worker's answers over the busiest one's: 1 is even, 0 leaves one out."""
        counts = [load.answered for load in self.loads]
        most = max(counts, default=0)
        return min(counts) / most if most else math.nan

    @property
    def errors(self) -> dict[str, int]:
        """What went wrong and how often, the most frequent first."""
        return dict(_total(trial.run.errors for trial in self.trials).most_common())

    @property
    def endpoints(self) -> list[Endpoint]:
        """By name."""
        names = sorted({cell.endpoint for cell in self._cells}, key=_by_path)
        return [self._endpoint(name) for name in names]

    @property
    def loads(self) -> list[Load]:
        """Every worker that there should be, and any other that answered."""
        answered = _total(trial.run.workers for trial in self.trials)
        names = {f"worker-{slot}" for slot in range(1, self.workers + 1)} | answered.keys()
        return [self._load(name, answered[name]) for name in sorted(names, key=_natural)]

    @property
    def timeline(self) -> list[Second]:
        """Second by second; the last one of a run, which it ends within, is left out."""
        found: list[Second] = []
        for begin, trial in zip(self.begins, self.trials, strict=True):
            for second in range(int(trial.run.seconds)):
                cells = [cell for cell in trial.run.cells if cell.second == second]
                ordered = _ordered(cells)
                found.append(
                    Second(
                        second=begin + second,
                        answered=len(ordered),
                        failed=sum(cell.failed for cell in cells),
                        p50=percentile(ordered, 50),
                        p95=percentile(ordered, 95),
                        p99=percentile(ordered, 99),
                    )
                )
        return found

    @property
    def begins(self) -> list[int]:
        """The second of the timeline that each trial begins with."""
        return [*accumulate((int(trial.run.seconds) for trial in self.trials[:-1]), initial=0)]

    @property
    def samples(self) -> list[Sample]:
        """Those of all trials, their seconds counted on as the timeline's are."""
        return [
            replace(sample, second=begin + sample.second)
            for begin, trial in zip(self.begins, self.trials, strict=True)
            for sample in trial.samples
        ]

    def latency(self, percent: float) -> float:
        """That percentile in milliseconds, of all right answers; NaN when there was none."""
        return percentile(self._latencies, percent)

    def of_trial(self, number: int) -> Measurement:
        """The same server, one trial only."""
        return Measurement(self.mode, self.workers, (self.trials[number],))

    def _endpoint(self, name: str) -> Endpoint:
        cells = [cell for cell in self._cells if cell.endpoint == name]
        ordered = _ordered(cells)
        failed = sum(cell.failed for cell in cells)
        return Endpoint(
            name=name,
            requests=len(ordered) + failed,
            failed=failed,
            p50=percentile(ordered, 50),
            p95=percentile(ordered, 95),
            p99=percentile(ordered, 99),
        )

    def _load(self, name: str, answered: int) -> Load:
        own = [sample for sample in self.samples if sample.worker == name]
        cpu = [sample.cpu for sample in own if not math.isnan(sample.cpu)]
        return Load(
            worker=name,
            answered=answered,
            cpu=statistics.fmean(cpu) if cpu else math.nan,
            rss=_most([sample.rss for sample in own]),
            pss=_most([sample.pss for sample in own]),
        )

    @cached_property
    def _cells(self) -> list[Cell]:
        return [cell for trial in self.trials for cell in trial.run.cells]

    @cached_property
    def _latencies(self) -> list[float]:
        return _ordered(self._cells)


@dataclass(frozen=True)
class Ratio:
    """The second server's figure over the first one's, round by round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """NaN when a round has none: the figure of a server that answered nothing."""
        nothing = not self.rounds or any(math.isnan(value) for value in self.rounds)
        return math.nan if nothing else statistics.median(self.rounds)


def ratios(first: Measurement, second: Measurement) -> dict[str, Ratio]:
    """Throughput, p50, p95 and p99 of `second` over `first`; both have the same rounds."""
    rounds = [
        (first.of_trial(number), second.of_trial(number)) for number in range(len(first.trials))
    ]
    found = {"throughput": Ratio(tuple(_over(b.throughput, a.throughput) for a, b in rounds))}
    for percent in (50, 95, 99):
        values = (_over(b.latency(percent), a.latency(percent)) for a, b in rounds)
        found[f"p{percent}"] = Ratio(tuple(values))
    return found


def _over(value: float, other: float) -> float:
    return value / other if other else math.nan


def _ordered(cells: Sequence[Cell]) -> list[float]:
    return sorted(value for cell in cells for value in cell.answered)


def _most(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for each in counts:
        summed.update(each)
    return summed


def _by_path(endpoint: str) -> tuple[str, str]:
    method, _, path = endpoint.partition(" ")
    return path, method


def _natural(worker: str) -> tuple[int, str]:
    number = worker.rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, worker)
