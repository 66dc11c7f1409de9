"""What a benchmark is held to: a measured value, its bound, and whether it keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One line of the result; `at_most` or `at_least` is the bound, neither: for information."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value keeps its bound."""
        over = self.at_most is not None and not self.value <= self.at_most
        under = self.at_least is not None and not self.value >= self.at_least
        return not over and not under

    def __str__(self) -> str:
        line = f"{self.name:62} {self.value:9.3f} {self.unit:6}"
        if self.at_most is None and self.at_least is None:
            return f"      {line}".rstrip()
        bound = f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"
        return f"{'ok  ' if self.met else 'MISS'}  {line} ({bound})"
