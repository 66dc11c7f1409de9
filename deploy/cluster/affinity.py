"""`WORKER_AFFINITY=cpu`: each worker on one CPU, as nginx's worker_cpu_affinity has it.

Of a worker's threads one at a time has the interpreter's lock. On several CPUs each hand-over of it
wakes another CPU, and on a virtual machine that costs as much as a small request.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any


def cpu_of(slot: int, allowed: Collection[int]) -> int:
    """The CPU for the worker in a slot, 1 and up: the highest first, all in turn.

    Most machines have their interrupts handled by the lowest, so it is the last that is given.
    """
    falling = sorted(allowed, reverse=True)
    return falling[(slot - 1) % len(falling)]


def settle(slot: int, log: Any) -> None:
    """This process, and what it starts from now on, runs on the CPU for its slot.

    Of those that the master may use: CPUAffinity= and a container's cpuset count. Where the system
    does not allow it, a warning says so.
    """
    try:
        os.sched_setaffinity(0, {cpu_of(slot, os.sched_getaffinity(0))})
    except (OSError, AttributeError) as error:
        log.warning("WORKER_AFFINITY=cpu has no effect here: %s", error)
