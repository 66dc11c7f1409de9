"""The scoreboard's bytes: a header, a record for each slot, a row for each worker.

Little-endian; every number that changes is eight bytes at most, and aligned, so that it is written
and read whole.
"""

from __future__ import annotations

import struct
from enum import IntEnum

SLOTS_MAX = 512
ROWS = 2 * SLOTS_MAX  # a worker that drains stands beside its successor

MAGIC = b"SFBOARD\0"
VERSION = 2

# magic, version, slots, rows, master's pid, master's start (clock ticks after boot),
# started (Unix time), wanted workers, generation, mode, release, application's name, addresses,
# the application as module:callable (zeros where an older kit's master does not say it)
HEADER = struct.Struct("<8sIIII QQ d QQ 16s 64s 64s 240s 64s")
FAILING, FAILING_BYTES = 512, 512  # the check that fails, as text
# The last reload: number, outcome, started and ended (Unix time), request, release, phase, reason;
# then its traceback.
RELOAD = struct.Struct("<QQ dd 32s 64s 160s 700s")
RELOAD_OFFSET, RELOAD_SIZE = 1024, 1024
RELOAD_TRACEBACK, TRACEBACK_BYTES = RELOAD_OFFSET + RELOAD_SIZE, 16384
HEADER_SIZE = RELOAD_TRACEBACK + TRACEBACK_BYTES
# restarts, requests of the slot's former workers, exits so far; then the last exits in a ring:
# Unix time, pid, reason; then the last failed boot: Unix time, traceback
SLOT = struct.Struct("<QQQ")
EXIT = struct.Struct("<d Q 96s")
EXITS_KEPT = 8
FAILED_BOOT, BOOT_TRACEBACK_BYTES = SLOT.size + EXITS_KEPT * EXIT.size, 4096
SLOT_SIZE = FAILED_BOOT + 8 + BOOT_TRACEBACK_BYTES
# state, slot, pid, generation, started (Unix time), ready after ms, requests, busy, heartbeat and
# the begin of a request that takes too long (monotonic seconds), release, how it leaves, and of an
# adaptive worker its connections and when it last accepted one (monotonic seconds; 0 of others);
# three cache lines, so that no two workers write into one
ROW = struct.Struct("<II QQ dd QQ dd 64s Q Q d 32x")
PID, READY_AFTER, REQUESTS, BUSY = 8, 32, 40, 48  # the row's fields that change, beside the state
HEARTBEAT, OVERDUE, LEAVE, CONNECTIONS = 56, 64, 136, 144
LIFE = 32  # up to here a row tells one worker from the next: slot, pid, generation, started
SIZE = HEADER_SIZE + SLOTS_MAX * SLOT_SIZE + ROWS * ROW.size

STATE = struct.Struct("<I")
UNSIGNED = struct.Struct("<Q")
FLOAT = struct.Struct("<d")
COUNTS = struct.Struct("<QQ")  # requests, busy
ACCEPTED = struct.Struct("<Qd")  # connections, when one was accepted


class Leave(IntEnum):
    """What a worker that drains does with its listeners."""

    SHARED = 0  # others accept there
    CLOSE = 1  # nobody will in a moment: it must not hold them for as long as it drains
    LAST = 2  # nobody else does: what waits there is the worker's


class Outcome(IntEnum):
    """Where a reload stands; NONE: there was none since the master started."""

    NONE = 0
    RUNNING = 1
    COMPLETE = 2
    REFUSED = 3  # nothing has changed, or it has changed back


class State(IntEnum):
    """Where a worker is in its life; a FREE row belongs to nobody."""

    FREE = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3


def slot_offset(slot: int) -> int:
    """Where the record of a slot (from 1) begins."""
    return HEADER_SIZE + (slot - 1) * SLOT_SIZE


def row_offset(number: int) -> int:
    """Where a row (from 0) begins."""
    return HEADER_SIZE + SLOTS_MAX * SLOT_SIZE + number * ROW.size


def text(value: str, size: int) -> bytes:
    """At most `size` bytes of UTF-8, cut between characters."""
    return value.encode()[:size].decode(errors="ignore").encode()


def tail(value: str, size: int) -> bytes:
    """The last `size` bytes at most: where a traceback says what happened."""
    return value.encode()[-size:].decode(errors="ignore").encode()


def string(raw: bytes | bytearray) -> str:
    """The text in a field that zeros fill up."""
    return raw.rstrip(b"\0").decode(errors="replace")
