"""A worker's own row on the scoreboard: how it tells the world about itself."""

from __future__ import annotations

import mmap
import threading
import time

from deploy.state.layout import (
    ACCEPTED,
    BUSY,
    CONNECTIONS,
    COUNTS,
    FLOAT,
    HEARTBEAT,
    LEAVE,
    OVERDUE,
    PID,
    READY_AFTER,
    REQUESTS,
    STATE,
    UNSIGNED,
    Leave,
    State,
)
from deploy.state.neighbours import Load, Neighbours


class Seat:
    """The row at `offset` of the board's memory; claimed by the master, written by the worker.

    `born`: when the worker was asked for, in seconds of the monotonic clock, which all processes
    share (clock_gettime(2)).
    """

    def __init__(
        self,
        memory: mmap.mmap | bytearray,
        offset: int,
        *,
        slot: int,
        generation: int,
        born: float | None = None,
    ):
        self.slot = slot
        self.generation = generation
        self.offset = offset
        self.born = time.monotonic() if born is None else born
        self._memory = memory
        self._lock = threading.Lock()  # gthread answers requests on several threads
        self._requests = 0
        self._neighbours = Neighbours(memory, offset)
        self._begun: dict[int, float] = {}  # by thread, or greenlet: when its request began

    @property
    def name(self) -> str:
        """The worker's name in logs, headers and commands; slot 0 is the canary's."""
        return f"worker-{self.slot}" if self.slot else "canary"

    @property
    def state(self) -> State:
        """What the row says now, whoever wrote it."""
        return State(STATE.unpack_from(self._memory, self.offset)[0])

    @property
    def ready_after_ms(self) -> float:
        """Milliseconds from fork to readiness; not a number before."""
        return float(FLOAT.unpack_from(self._memory, self.offset + READY_AFTER)[0])

    @property
    def requests(self) -> int:
        """Requests answered, as the worker wrote it."""
        return int(UNSIGNED.unpack_from(self._memory, self.offset + REQUESTS)[0])

    @property
    def heartbeat(self) -> float:
        """The last sign of life, in seconds of the monotonic clock; 0 while it boots."""
        return float(FLOAT.unpack_from(self._memory, self.offset + HEARTBEAT)[0])

    @property
    def overdue(self) -> float:
        """Since when a request takes too long, in seconds of the monotonic clock; 0: none does."""
        return float(FLOAT.unpack_from(self._memory, self.offset + OVERDUE)[0])

    def occupy(self, pid: int) -> None:
        """The worker's first word, after the fork."""
        UNSIGNED.pack_into(self._memory, self.offset + PID, pid)

    def ready(self) -> None:
        """The worker has loaded the application and is about to accept."""
        milliseconds = (time.monotonic() - self.born) * 1000
        FLOAT.pack_into(self._memory, self.offset + READY_AFTER, milliseconds)
        self._set(State.READY)

    def drain(self) -> None:
        """The worker was asked to leave."""
        self._set(State.DRAINING)

    def free(self) -> None:
        """The worker is gone; the master alone says so."""
        self._set(State.FREE)

    @property
    def leave(self) -> Leave:
        """What the worker does with its listeners when it is asked to leave."""
        return Leave(UNSIGNED.unpack_from(self._memory, self.offset + LEAVE)[0])

    def leaves(self, leave: Leave) -> None:
        """Says so; the master does, before it asks the worker to leave."""
        UNSIGNED.pack_into(self._memory, self.offset + LEAVE, leave)

    def beat(self) -> None:
        """The worker's loop goes round."""
        FLOAT.pack_into(self._memory, self.offset + HEARTBEAT, time.monotonic())

    def begin_request(self) -> None:
        """A request came in."""
        with self._lock:
            self._begun[threading.get_ident()] = time.monotonic()
            UNSIGNED.pack_into(self._memory, self.offset + BUSY, len(self._begun))

    def end_request(self) -> None:
        """A request was answered, or its client is gone."""
        with self._lock:
            self._begun.pop(threading.get_ident(), None)
            self._requests += 1
            counts = self._requests, len(self._begun)
            COUNTS.pack_into(self._memory, self.offset + REQUESTS, *counts)

    @property
    def busy(self) -> bool:
        """Whether requests are in progress."""
        return bool(self._begun)

    def connected(self, connections: int) -> None:
        """How many connections there are; of a worker that takes turns in accepting."""
        UNSIGNED.pack_into(self._memory, self.offset + CONNECTIONS, connections)

    def accepted(self, connections: int, now: float) -> None:
        """One of them has come now, in seconds of the monotonic clock."""
        ACCEPTED.pack_into(self._memory, self.offset + CONNECTIONS, connections, now)

    def neighbours(self, now: float) -> list[Load]:
        """The workers that take turns with this one."""
        return self._neighbours.loads(now)

    def oldest_request(self) -> float | None:
        """When the oldest request in flight began; None when there is none."""
        with self._lock:
            return min(self._begun.values(), default=None)

    def mark_overdue(self, since: float) -> None:
        """A request takes too long, since then; 0 takes it back."""
        FLOAT.pack_into(self._memory, self.offset + OVERDUE, since)

    def _set(self, state: State) -> None:
        STATE.pack_into(self._memory, self.offset, state)
