"""The end of a master: whoever is below it leaves in time, or is made to."""

from __future__ import annotations

import signal
import time
from typing import Any, Protocol

from deploy.cluster.crew import Crew
from deploy.cluster.mold_handle import MoldHandle

# How often is looked who has left.
_LOOK_SECONDS = 0.05
# A quick stop gives workers so long before it kills them.
_QUICK_STOP_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Household(Protocol):
    """A master and those below it: the arbiter."""

    crew: Crew
    dirty_arbiter_pid: int
    gone: list[MoldHandle]
    log: Any
    num_workers: int

    def handle_chld(self) -> None:
        """Children have ended."""

    def kill_dirty_arbiter(self, number: int) -> None:
        """Signals Gunicorn's dirty arbiter."""

    def wait_for_signals(self, timeout: float) -> list[int]:
        """Those that came within so many seconds."""


def see_off(house: Household, *, graceful: bool) -> None:
    """Returns when all have left; a second signal to stop makes a graceful stop a quick one."""
    _tell(house, graceful=graceful)
    deadline = _last(house, graceful=graceful)
    while house.crew.all() or house.dirty_arbiter_pid or house.gone:
        again = any(n in _STOP_SIGNALS for n in house.wait_for_signals(_LOOK_SECONDS))
        if again and graceful:
            house.log.info("[Master] Asked again: stopping at once")
            graceful = False
            _tell(house, graceful=graceful)
            deadline = _last(house, graceful=graceful)
        _watch(house)
        if time.monotonic() >= deadline:
            break
    for worker in house.crew.all():
        house.crew.signal(worker, signal.SIGKILL)
    for mold in house.gone:
        mold.give_up("stopped")
    deadline = time.monotonic() + _QUICK_STOP_SECONDS
    while (house.crew.all() or house.gone) and time.monotonic() < deadline:
        house.wait_for_signals(_LOOK_SECONDS)
        _watch(house)


def _tell(house: Household, *, graceful: bool) -> None:
    number = signal.SIGTERM if graceful else signal.SIGQUIT
    if house.dirty_arbiter_pid:
        house.kill_dirty_arbiter(number)
    for worker in house.crew.all():
        house.crew.signal(worker, number)


def _last(house: Household, *, graceful: bool) -> float:
    """When the last worker is to be gone (monotonic)."""
    now = time.monotonic()
    latest = max((worker.leave_by for worker in house.crew.all()), default=now)
    return (latest if graceful else now) + _QUICK_STOP_SECONDS


def _watch(house: Household) -> None:
    now = time.monotonic()
    house.handle_chld()
    house.crew.observe(house.num_workers)
    house.crew.press(now)
    for mold in house.gone:
        mold.observe(now)
    house.gone = [mold for mold in house.gone if mold.alive]
