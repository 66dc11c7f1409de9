"""What a worker sees of the others on the scoreboard: enough to know whose turn it is to accept."""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

from deploy.state import layout
from deploy.state.layout import State

# state, busy, heartbeat, connections, accepted: of layout.ROW, in one reading
_LOAD = struct.Struct("<I 44x Q d 80x Q d")
_LOOK_SECONDS = 0.25  # between two looks at which rows are taken
_SILENT_SECONDS = 2.5  # a worker beats once a second when it has nothing to do


class Load(NamedTuple):
    """What a worker has to do."""

    connections: int
    busy: bool  # requests are in progress
    accepted: float  # monotonic seconds, when it last accepted a connection


class Neighbours:
    """The workers beside the one whose row is at `offset`."""

    def __init__(self, memory: mmap.mmap | bytearray, offset: int):
        self._memory = memory
        self._offset = offset
        self._rows: list[int] = []
        self._look_at = 0.0

    def loads(self, now: float) -> list[Load]:
        """Of those that accept and say how many connections they have; `now` in monotonic seconds.

        Who has given no sign of life for a while is left out.
        """
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._rows = self._taken()
        found = []
        for offset in self._rows:
            state, busy, heartbeat, connections, accepted = _LOAD.unpack_from(self._memory, offset)
            if state == State.READY and accepted and now - heartbeat < _SILENT_SECONDS:
                found.append(Load(connections, busy > 0, accepted))
        return found

    def _taken(self) -> list[int]:
        first = layout.row_offset(0)
        # A state's lowest byte is all of it.
        states = self._memory[first : layout.SIZE : layout.ROW.size]
        offsets = (layout.row_offset(number) for number, state in enumerate(states) if state)
        return [offset for offset in offsets if offset != self._offset]
