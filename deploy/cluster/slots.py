"""Which worker sits in which slot, and what follows. Pure: the arbiter carries it out.

There are the slots 1…N. A worker that was told to leave holds its slot no longer. One that is to be
replaced (`retiring`) serves until its successor in the slot is ready, so a slot that serves goes on
serving; and only one such replacement is under way at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Occupant(Protocol):
    """A worker, as far as slots are concerned."""

    @property
    def slot(self) -> int:
        """From 1."""

    @property
    def age(self) -> int:
        """Counts workers: the larger, the newer."""

    @property
    def ready(self) -> bool:
        """It accepts requests."""

    @property
    def retiring(self) -> str:
        """Why it is to be replaced; empty when it is to stay."""

    @property
    def leaving(self) -> bool:
        """Told to stop."""


_O = TypeVar("_O", bound=Occupant)


@dataclass(frozen=True)
class Plan(Generic[_O]):
    """What to do now."""

    start: list[int]  # slots that get a worker
    stop: list[_O]  # workers to tell to leave


def plan(occupants: Collection[_O], wanted: int, *, held: Container[int] = ()) -> Plan[_O]:
    """The next step towards one ready worker in each slot from 1 to `wanted`.

    `held`: slots that get no worker yet, as their last ones crashed.
    """
    staying = [occupant for occupant in occupants if not occupant.leaving]
    stop = [occupant for occupant in staying if occupant.slot > wanted]
    vacant: list[int] = []
    worn: list[int] = []
    replacing = False
    for slot in range(1, wanted + 1):
        here = [occupant for occupant in staying if occupant.slot == slot]
        fresh = [occupant for occupant in here if not occupant.retiring]
        ready = [occupant for occupant in fresh if occupant.ready]
        stop += [occupant for occupant in here if occupant.retiring and not occupant.ready]
        if ready:
            holder = max(ready, key=lambda occupant: occupant.age)
            stop += [occupant for occupant in here if occupant is not holder and occupant.ready]
        elif fresh:
            replacing = replacing or len(here) > len(fresh)
        elif slot not in held:
            (worn if any(occupant.ready for occupant in here) else vacant).append(slot)
    return Plan(start=vacant if replacing else vacant + worn[:1], stop=stop)


def ready_slots(occupants: Collection[Occupant], wanted: int) -> int:
    """How many of the slots from 1 to `wanted` have a ready worker."""
    return len({o.slot for o in occupants if o.ready and not o.leaving and 1 <= o.slot <= wanted})


def settled(occupants: Collection[Occupant], wanted: int) -> bool:
    """Whether each slot has its ready worker, none is to be replaced and none is too many."""
    staying = [occupant for occupant in occupants if not occupant.leaving]
    return (
        len(staying) == wanted
        and ready_slots(staying, wanted) == wanted
        and not any(occupant.retiring for occupant in staying)
    )
