"""Whose turn it is to accept: each worker wakes for a connection, and the least loaded takes it.

Without that the fastest to wake takes it, which is often the same one again, or who has most to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from deploy.state.neighbours import Load

# For another worker to wake up and accept. Nobody waits longer for one that does not.
COURTESY_SECONDS = 0.0002
ACCEPTED_MOST = 64  # in one go


class Seat(Protocol):
    """The worker's row on the scoreboard."""

    @property
    def busy(self) -> bool:
        """Whether requests are in progress."""

    def neighbours(self, now: float) -> list[Load]:
        """The other workers."""

    def connected(self, connections: int) -> None:
        """Says how many connections there are."""

    def accepted(self, connections: int, now: float) -> None:
        """Says so, and that one has come now."""


def share(mine: Load, others: Iterable[Load]) -> int:
    """How many connections this worker may accept in one go; 0: it is another's turn.

    It is the turn of who has the fewest connections; of several with as few, of an idle one, then
    of the one that has accepted none for longest. Where all are busy an eighth more is as good, so
    that a crowd that comes at once is not kept waiting.
    """
    most = ACCEPTED_MOST
    for other in others:
        both_busy = mine.busy and other.busy
        if other < mine and not both_busy:
            return 0
        slack = other.connections // 8 if other.busy else -1
        room = other.connections + slack - mine.connections + 1
        most = min(most, room if both_busy else max(1, room))
    return max(0, most)


class Turn:
    """One worker's manners; `seat` is None where Gunicorn runs without the kit's scoreboard."""

    def __init__(self, seat: Seat | None, *, workers: int):
        self._seat = seat
        self._unseated = ACCEPTED_MOST if workers == 1 else 1
        self._accepted = 0.0
        self._left = False

    def accepted(self, connections: int, now: float) -> None:
        """The worker has accepted one of so many connections, or begins to accept."""
        self._accepted = now
        if self._seat is not None:
            self._seat.accepted(connections, now)

    def left_with(self, connections: int) -> None:
        """A connection is over."""
        if self._seat is not None:
            self._seat.connected(connections)

    def comes(self, connections: int, now: float, *, pending: bool) -> int:
        """How many to accept of the connections that wait; others may still be faster.

        Where it is another's turn and something is `pending`, the worker sees to that first, and
        asks again. Else it waits here for a moment. Then it takes what is still there.
        """
        seat = self._seat
        if seat is None:
            return self._unseated
        mine = Load(connections, pending or seat.busy, self._accepted)
        most = share(mine, seat.neighbours(now))
        if most == 0 and not self._left:
            if pending:
                self._left = True
                return 0
            time.sleep(COURTESY_SECONDS)
        self._left = False
        return max(1, most)
