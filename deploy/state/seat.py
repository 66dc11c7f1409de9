"""A worker's own row on the scoreboard: how it tells the world about itself."""

from __future__ import annotations

import mmap
import threading
import time

from deploy.state.layout import (
    BUSY,
    COUNTS,
    FLOAT,
    PID,
    READY_AFTER,
    REQUESTS,
    STATE,
    UNSIGNED,
    State,
)


class Seat:
    """The row at `offset` of the board's memory; made by the master, written by the worker."""

    def __init__(self, memory: mmap.mmap | bytearray, offset: int, *, slot: int, generation: int):
        self.slot = slot
        self.generation = generation
        self._memory = memory
        self._offset = offset
        self._lock = threading.Lock()  # gthread answers requests on several threads
        self._born = time.monotonic()
        self._requests = 0
        self._busy = 0

    @property
    def name(self) -> str:
        """The worker's name in logs, headers and commands."""
        return f"worker-{self.slot}"

    @property
    def state(self) -> State:
        """What the row says now, whoever wrote it."""
        return State(STATE.unpack_from(self._memory, self._offset)[0])

    @property
    def ready_after_ms(self) -> float:
        """Milliseconds from fork to readiness; not a number before."""
        return float(FLOAT.unpack_from(self._memory, self._offset + READY_AFTER)[0])

    @property
    def requests(self) -> int:
        """Requests answered, as the worker wrote it."""
        return int(UNSIGNED.unpack_from(self._memory, self._offset + REQUESTS)[0])

    def occupy(self, pid: int) -> None:
        """The worker's first word, after the fork."""
        UNSIGNED.pack_into(self._memory, self._offset + PID, pid)

    def ready(self) -> None:
        """The worker has loaded the application and is about to accept."""
        milliseconds = (time.monotonic() - self._born) * 1000
        FLOAT.pack_into(self._memory, self._offset + READY_AFTER, milliseconds)
        self._set(State.READY)

    def drain(self) -> None:
        """The worker was asked to leave."""
        self._set(State.DRAINING)

    def free(self) -> None:
        """The worker is gone; the master alone says so."""
        self._set(State.FREE)

    def begin_request(self) -> None:
        """A request came in."""
        with self._lock:
            self._busy += 1
            UNSIGNED.pack_into(self._memory, self._offset + BUSY, self._busy)

    def end_request(self) -> None:
        """A request was answered, or its client is gone."""
        with self._lock:
            self._busy -= 1
            self._requests += 1
            COUNTS.pack_into(self._memory, self._offset + REQUESTS, self._requests, self._busy)

    def _set(self, state: State) -> None:
        STATE.pack_into(self._memory, self._offset, state)
