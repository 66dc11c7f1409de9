"""What the users of one run saw, second by second: the generator gathers, the report reads."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

_ERRORS = 20  # kinds that are told apart
_ERROR_LONGEST = 200  # characters
_OTHER = "other errors"


@dataclass(frozen=True, slots=True)
class Cell:
    """The requests to one endpoint that ended within one second of the run."""

    second: int  # 0 is the run's first
    endpoint: str  # `GET /health`
    answered: tuple[float, ...]  # milliseconds each took; those that failed have none
    failed: int


@dataclass(frozen=True)
class Run:
    """One run, over."""

    began: float  # Unix time
    seconds: float
    cpu_seconds: float  # that the generator itself used
    cells: tuple[Cell, ...]
    workers: Mapping[str, int]  # answers by the worker that gave them
    errors: Mapping[str, int]  # what went wrong, and how often

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Reads what `Tally.facts` wrote; raises KeyError, TypeError or ValueError."""
        return cls(
            began=float(facts["began"]),
            seconds=float(facts["seconds"]),
            cpu_seconds=float(facts["cpu_seconds"]),
            cells=tuple(
                Cell(int(second), str(endpoint), tuple(answered), int(failed))
                for second, endpoint, answered, failed in facts["cells"]
            ),
            workers={str(name): int(count) for name, count in facts["workers"].items()},
            errors={str(name): int(count) for name, count in facts["errors"].items()},
        )


@dataclass
class _Count:
    # Unboxed: a long run keeps millions of them.
    answered: array[float] = field(default_factory=lambda: array("f"))
    failed: int = 0


class Tally:
    """Counts requests as they end."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, str], _Count] = {}
        self._workers: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def add(
        self,
        *,
        second: int,
        endpoint: str,
        milliseconds: float,
        worker: str | None,  # who answered, when somebody did
        error: str | None = None,  # why it counts as failed
    ) -> None:
        """One request that ended in that second of the run."""
        count = self._cells.setdefault((second, endpoint), _Count())
        if error is None:
            count.answered.append(milliseconds)
        else:
            count.failed += 1
            self._errors[self._kind(f"{endpoint}: {error}")] += 1
        if worker:
            self._workers[worker] += 1

    def facts(self, *, began: float, seconds: float, cpu_seconds: float) -> dict[str, Any]:
        """The run as a JSON object."""
        return {
            "began": began,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "cells": [
                [second, endpoint, [round(value, 2) for value in count.answered], count.failed]
                for (second, endpoint), count in sorted(self._cells.items())
            ],
            "workers": dict(sorted(self._workers.items())),
            "errors": dict(self._errors.most_common()),
        }

    def _kind(self, error: str) -> str:
        error = error.replace("\n", " ")[:_ERROR_LONGEST]
        known = error in self._errors or len(self._errors) < _ERRORS
        return error if known else _OTHER
