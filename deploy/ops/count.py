"""The argument of `scale`: a number of workers, or a change to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

from deploy.state.layout import SLOTS_MAX

_COUNT = re.compile(r"([+-]?)([0-9]{1,6})")


@dataclass(frozen=True, kw_only=True)
class Count:
    """`4`, or `+1` and `-1`, which count from what runs."""

    number: int
    relative: bool

    def __str__(self) -> str:
        """As the operator wrote it."""
        return f"{self.number:+d}" if self.relative else str(self.number)

    def of(self, running: int) -> int:
        """How many workers that makes; raises ValueError, naming the number, when it may not be."""
        total = running + self.number if self.relative else self.number
        if not 1 <= total <= SLOTS_MAX:
            makes = f"{running}{self.number:+d} = " if self.relative else ""
            raise ValueError(f"{makes}{total} workers: expected 1 to {SLOTS_MAX}")
        return total


class CountType(click.ParamType[Count | str]):
    """`4`, `+1`, `-1` or `max`."""

    name = "count"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Count | str:
        if value == "max":
            return "max"
        found = _COUNT.fullmatch(str(value))
        if not found:
            self.fail(f"{value!r}: expected N, +N, -N or max", param, ctx)
        sign, digits = found.groups()
        number = -int(digits) if sign == "-" else int(digits)
        return Count(number=number, relative=bool(sign))
