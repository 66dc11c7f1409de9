"""The scoreboard's bytes: a header, a record for each slot, a row for each worker.

Little-endian; every field that changes is eight bytes at most, and aligned, so that it is written
and read whole.
"""

from __future__ import annotations

import struct
from enum import IntEnum

SLOTS_MAX = 512
ROWS = 2 * SLOTS_MAX  # a worker that drains stands beside its successor

MAGIC = b"SFBOARD\0"
VERSION = 1

# magic, version, slots, rows, master's pid, master's start (clock ticks after boot), started (Unix
# time), wanted workers, generation, mode, release, application's name, addresses
HEADER = struct.Struct("<8sIIII QQ d QQ 16s 64s 64s 240s")
HEADER_SIZE = 512
# restarts, requests of the slot's former workers, then the last exit: Unix time, pid, reason
SLOT = struct.Struct("<QQ d Q 96s")
# state, slot, pid, generation, started (Unix time), ready after ms, requests, busy, release
# 128 bytes, so that no two workers write into one cache line
ROW = struct.Struct("<II QQ dd QQ 72s")
PID, READY_AFTER, REQUESTS, BUSY = 8, 32, 40, 48  # the row's fields that change, beside the state
LIFE = 32  # up to here a row tells one worker from the next: slot, pid, generation, started
SIZE = HEADER_SIZE + SLOTS_MAX * SLOT.size + ROWS * ROW.size

STATE = struct.Struct("<I")
UNSIGNED = struct.Struct("<Q")
FLOAT = struct.Struct("<d")
COUNTS = struct.Struct("<QQ")  # requests, busy


class State(IntEnum):
    """Where a worker is in its life; a FREE row belongs to nobody."""

    FREE = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3


def slot_offset(slot: int) -> int:
    """Where the record of a slot (from 1) begins."""
    return HEADER_SIZE + (slot - 1) * SLOT.size


def row_offset(number: int) -> int:
    """Where a row (from 0) begins."""
    return HEADER_SIZE + SLOTS_MAX * SLOT.size + number * ROW.size


def text(value: str, size: int) -> bytes:
    """At most `size` bytes of UTF-8, cut between characters."""
    return value.encode()[:size].decode(errors="ignore").encode()


def string(raw: bytes) -> str:
    """The text in a field that zeros fill up."""
    return raw.rstrip(b"\0").decode(errors="replace")
