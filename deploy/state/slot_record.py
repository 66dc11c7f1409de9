"""What belongs to a slot and not to one of its workers: restarts, the last exits, a failed boot."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from deploy.state import layout
from deploy.state.layout import EXITS_KEPT, FLOAT, SLOTS_MAX, UNSIGNED


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a worker of the slot ended."""

    at: float  # Unix time
    pid: int
    reason: str  # "signal SIGKILL", "exit code 3", "timeout", "out of memory"


@dataclass(frozen=True, kw_only=True)
class FailedBoot:
    """The slot's last worker that could not boot."""

    at: float  # Unix time
    traceback: str  # its end, when it was long


class SlotRecord:
    """The record of one slot, written by the master; a slot above SLOTS_MAX has none."""

    def __init__(self, memory: mmap.mmap, slot: int):
        size = layout.SLOT_SIZE
        offset = layout.slot_offset(slot)
        self._memory: mmap.mmap | bytearray = memory if slot <= SLOTS_MAX else bytearray(size)
        self._offset = offset if slot <= SLOTS_MAX else 0

    @property
    def restarts(self) -> int:
        """Workers that took the place of one that died, since the master started."""
        return self._counts()[0]

    @property
    def requests(self) -> int:
        """Requests that the slot's former workers have answered."""
        return self._counts()[1]

    @property
    def exits(self) -> list[Exit]:
        """The last exits, the newest first."""
        exits = self._counts()[2]
        kept = []
        for number in range(exits - 1, max(exits - 1 - EXITS_KEPT, -1), -1):
            at, pid, reason = layout.EXIT.unpack_from(self._memory, self._exit_offset(number))
            kept.append(Exit(at=at, pid=pid, reason=layout.string(reason)))
        return kept

    @property
    def failed_boot(self) -> FailedBoot | None:
        """The last worker that could not boot; None when all could."""
        offset = self._offset + layout.FAILED_BOOT
        at = FLOAT.unpack_from(self._memory, offset)[0]
        raw = self._memory[offset + 8 : offset + 8 + layout.BOOT_TRACEBACK_BYTES]
        return FailedBoot(at=at, traceback=layout.string(raw)) if at else None

    def add_requests(self, requests: int) -> None:
        """A worker is gone; what it has answered stays with the slot."""
        UNSIGNED.pack_into(self._memory, self._offset + 8, self.requests + requests)

    def add_exit(self, exit_: Exit, *, restarted: bool) -> None:
        """How a worker ended, and whether the slot gets another for it."""
        restarts, _, exits = self._counts()
        reason = layout.text(exit_.reason, 96)
        place = self._exit_offset(exits)
        layout.EXIT.pack_into(self._memory, place, exit_.at, exit_.pid, reason)
        UNSIGNED.pack_into(self._memory, self._offset, restarts + restarted)
        UNSIGNED.pack_into(self._memory, self._offset + 16, exits + 1)

    def add_failed_boot(self, failed: FailedBoot) -> None:
        """Keeps the end of the traceback."""
        offset = self._offset + layout.FAILED_BOOT
        raw = layout.tail(failed.traceback, layout.BOOT_TRACEBACK_BYTES)
        raw = raw.ljust(layout.BOOT_TRACEBACK_BYTES, b"\0")
        self._memory[offset + 8 : offset + 8 + layout.BOOT_TRACEBACK_BYTES] = raw
        FLOAT.pack_into(self._memory, offset, failed.at)

    def _counts(self) -> tuple[int, int, int]:
        restarts, requests, exits = layout.SLOT.unpack_from(self._memory, self._offset)
        return restarts, requests, exits

    def _exit_offset(self, number: int) -> int:
        return self._offset + layout.SLOT.size + number % EXITS_KEPT * layout.EXIT.size
