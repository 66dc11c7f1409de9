"""Which worker sits in which slot. Pure: the arbiter carries it out.

There are the slots 1…N. A worker that was told to leave holds its slot no longer; of several that
stay, the one of the newest generation does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar


class Occupant(Protocol):
    """A worker, as far as slots are concerned."""

    @property
    def slot(self) -> int:
        """From 1."""

    @property
    def generation(self) -> int:
        """Counts reloads."""

    @property
    def leaving(self) -> bool:
        """Told to stop."""


_O = TypeVar("_O", bound=Occupant)


def missing(occupants: Collection[Occupant], wanted: int) -> list[int]:
    """The slots from 1 to `wanted` that nobody holds."""
    held = {occupant.slot for occupant in occupants if not occupant.leaving}
    return [slot for slot in range(1, wanted + 1) if slot not in held]


def surplus(occupants: Iterable[_O], wanted: int) -> list[_O]:
    """The workers to stop: above the wanted number, or behind a newer one in their slot."""
    staying = [occupant for occupant in occupants if not occupant.leaving]
    newest: dict[int, int] = {}
    for occupant in staying:
        newest[occupant.slot] = max(occupant.generation, newest.get(occupant.slot, 0))
    return [
        occupant
        for occupant in staying
        if occupant.slot > wanted or occupant.generation < newest[occupant.slot]
    ]


def next_slot(occupants: Iterable[Occupant], generation: int) -> int:
    """The lowest slot that a new worker of this generation may take."""
    held = {o.slot for o in occupants if not o.leaving and o.generation >= generation}
    return next(slot for slot in range(1, len(held) + 2) if slot not in held)
