"""What belongs to one process and must not cross a fork: threads, sockets, connections."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

_State = TypeVar("_State")


class PerProcess(Generic[_State]):
    """Keeps its `_state` within a process: a forked child begins with a new one.

    `close` is called when the process ends in order.
    """

    def __init__(self, new_state: Callable[[], _State]):
        self._new_state = new_state
        self._state = new_state()
        _all.add(self)

    def close(self) -> None:
        """Gives up what this process holds."""
        raise NotImplementedError

    def _after_fork(self) -> None:
        _inherited.append(self._state)
        self._state = self._new_state()


_all: WeakSet[PerProcess[Any]] = WeakSet()
_inherited: list[object] = []  # the parent's, kept: destroying them would reach into its sockets


def _forget_parent() -> None:
    for each in list(_all):
        each._after_fork()  # noqa: SLF001 - the same module


def _close_all() -> None:
    for each in list(_all):
        each.close()


os.register_at_fork(after_in_child=_forget_parent)
atexit.register(_close_all)
