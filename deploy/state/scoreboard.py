"""One row for each worker in shared memory: written by master and worker, read by anyone.

A file in the runtime directory, mapped by every process that wants it. A worker that drains beside
its successor has a row of its own, so there are more rows than slots. The master gives a row to a
worker before it forks and takes it back when it has reaped the worker; the worker writes only into
its row. What belongs to the slot and not to one worker (restarts, the last exit) is kept apart.

Readers take no lock. A row's fields are eight bytes at most, and aligned, so each is read whole;
that a row was not given to another worker meanwhile is checked by reading it twice.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
import tempfile
import threading
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SLOTS_MAX = 512
ROWS = 2 * SLOTS_MAX

_MAGIC = b"SFBOARD\0"
_VERSION = 1
# magic, version, slots, rows, master's pid, master's start (clock ticks after boot), started (Unix
# time), wanted workers, generation, mode, release, application's name, addresses
_HEADER = struct.Struct("<8sIIII QQ d QQ 16s 64s 64s 240s")
_HEADER_SIZE = 512
_WANTED = 48  # offsets of the header's fields that change
_RELEASE = 48 + 16 + 16
# restarts, requests of the slot's former workers, then the last exit: Unix time, pid, reason
_SLOT = struct.Struct("<QQ d Q 96s")
# state, slot, pid, generation, started (Unix time), ready after ms, requests, busy, release
_ROW = struct.Struct("<II QQ dd QQ 64s")
_LIFE = 32  # up to here a row tells one worker from the next: slot, pid, generation, started
_READY_AFTER, _REQUESTS, _BUSY = 32, 40, 48
_SIZE = _HEADER_SIZE + SLOTS_MAX * _SLOT.size + ROWS * _ROW.size

_STATE = struct.Struct("<I")
_UNSIGNED = struct.Struct("<Q")
_FLOAT = struct.Struct("<d")
_COUNTS = struct.Struct("<QQ")  # requests, busy


class State(IntEnum):
    """Where a worker is in its life; a FREE row belongs to nobody."""

    FREE = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3


class ScoreboardError(RuntimeError):
    """The file is no scoreboard of this version of the kit."""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How the last worker of a slot ended."""

    at: float  # Unix time
    pid: int
    reason: str  # "signal SIGKILL", "exit code 3", "timeout", "out of memory"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One worker, as the board shows it."""

    slot: int
    state: State
    pid: int
    generation: int
    release: str
    started: float  # Unix time
    ready_after_ms: float | None  # from fork to readiness; None while it boots
    requests: int  # answered
    busy: int  # in flight
    restarts: int  # of the slot, since the master started
    requests_before: int  # answered by the slot's former workers
    last_exit: Exit | None  # of the slot's former worker

    @property
    def name(self) -> str:
        """The worker's name in logs, headers and commands."""
        return f"worker-{self.slot}"


@dataclass(frozen=True, kw_only=True)
class Master:
    """The master that owns the board, and what it was told to run."""

    pid: int
    start_ticks: int  # field 22 of /proc/PID/stat: tells this process from a later one of that pid
    started: float  # Unix time
    mode: str
    wanted: int
    generation: int
    release: str
    app_name: str
    address: str


class Seat:
    """A worker's own row: how it tells the world about itself."""

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
        return State(_STATE.unpack_from(self._memory, self._offset)[0])

    @property
    def ready_after_ms(self) -> float:
        """Milliseconds from fork to readiness; not a number before."""
        return float(_FLOAT.unpack_from(self._memory, self._offset + _READY_AFTER)[0])

    @property
    def requests(self) -> int:
        """Requests answered, as the worker wrote it."""
        return int(_UNSIGNED.unpack_from(self._memory, self._offset + _REQUESTS)[0])

    def occupy(self, pid: int) -> None:
        """The worker's first word, after the fork."""
        _UNSIGNED.pack_into(self._memory, self._offset + 8, pid)

    def ready(self) -> None:
        """The worker has loaded the application and is about to accept."""
        milliseconds = (time.monotonic() - self._born) * 1000
        _FLOAT.pack_into(self._memory, self._offset + _READY_AFTER, milliseconds)
        self._set(State.READY)

    def drain(self) -> None:
        """The worker was asked to leave."""
        self._set(State.DRAINING)

    def begin_request(self) -> None:
        """A request came in."""
        with self._lock:
            self._busy += 1
            _UNSIGNED.pack_into(self._memory, self._offset + _BUSY, self._busy)

    def end_request(self) -> None:
        """A request was answered, or its client is gone."""
        with self._lock:
            self._busy -= 1
            self._requests += 1
            _COUNTS.pack_into(self._memory, self._offset + _REQUESTS, self._requests, self._busy)

    def _set(self, state: State) -> None:
        _STATE.pack_into(self._memory, self._offset, state)


class Scoreboard:
    """The board in `path`: `create` it as the master, `open` it as anyone else."""

    def __init__(self, path: Path, memory: mmap.mmap, inode: int):
        self.path = path
        self._memory = memory
        self._inode = inode

    @classmethod
    def create(cls, path: Path, master: Master) -> Scoreboard:
        """A new board in place of the old one; who has the old one mapped keeps that."""
        fd, new = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            os.ftruncate(fd, _SIZE)
            memory = mmap.mmap(fd, _SIZE)
            _HEADER.pack_into(
                memory,
                0,
                _MAGIC,
                _VERSION,
                SLOTS_MAX,
                ROWS,
                0,
                master.pid,
                master.start_ticks,
                master.started,
                master.wanted,
                master.generation,
                _text(master.mode, 16),
                _text(master.release, 64),
                _text(master.app_name, 64),
                _text(master.address, 240),
            )
            os.fchmod(fd, 0o644)
            inode = os.fstat(fd).st_ino
            Path(new).rename(path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return cls(path, memory, inode)

    @classmethod
    def open(cls, path: Path) -> Scoreboard:
        """Maps an existing board for reading; raises FileNotFoundError or ScoreboardError."""
        with path.open("rb") as file:
            try:
                memory = mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ)
            except ValueError:  # the file is shorter than a board
                raise ScoreboardError(f"{path} is no scoreboard") from None
            inode = os.fstat(file.fileno()).st_ino
        magic, version = struct.unpack_from("<8sI", memory)
        if magic != _MAGIC or version != _VERSION:
            memory.close()
            raise ScoreboardError(f"{path} is no scoreboard of version {_VERSION}")
        return cls(path, memory, inode)

    def close(self) -> None:
        """Unmaps the board; seats given out by it are of no use any more."""
        self._memory.close()

    def remove(self) -> None:
        """Takes the file away, unless another master has put its own in place."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    # --- written by the master

    def resize(self, wanted: int) -> None:
        """The number of workers that the master now keeps."""
        _UNSIGNED.pack_into(self._memory, _WANTED, wanted)

    def start_generation(self, generation: int, release: str) -> None:
        """A reload: from now on workers are of this generation and release."""
        struct.pack_into("<Q", self._memory, _WANTED + 8, generation)
        struct.pack_into("<64s", self._memory, _RELEASE, _text(release, 64))

    def claim(self, slot: int, *, generation: int, release: str) -> Seat:
        """A row for a worker that is about to be forked into `slot`."""
        for number in range(ROWS if slot <= SLOTS_MAX else 0):
            offset = _row_offset(number)
            if _STATE.unpack_from(self._memory, offset)[0] != State.FREE:
                continue
            row = (State.FREE, slot, 0, generation, time.time(), math.nan, 0, 0)
            _ROW.pack_into(self._memory, offset, *row, _text(release, 64))
            # Published last: a reader never sees a row that is half the former worker's.
            _STATE.pack_into(self._memory, offset, State.BOOTING)
            return Seat(self._memory, offset, slot=slot, generation=generation)
        # No room on the board (a slot above SLOTS_MAX, or hundreds of workers that will not leave):
        # a worker that nobody sees beats none.
        return Seat(bytearray(_ROW.size), 0, slot=slot, generation=generation)

    def vacate(self, seat: Seat) -> None:
        """Frees the row of a worker that was reaped; its requests stay with the slot."""
        if seat.slot <= SLOTS_MAX:
            record = _slot_offset(seat.slot) + 8
            before = _UNSIGNED.unpack_from(self._memory, record)[0]
            _UNSIGNED.pack_into(self._memory, record, before + seat.requests)
        seat._set(State.FREE)  # noqa: SLF001 - only the master may free a row

    def record_exit(self, slot: int, exit_: Exit, *, restarted: bool) -> None:
        """How the slot's worker ended, and whether the slot gets another for it."""
        if slot > SLOTS_MAX:
            return
        offset = _slot_offset(slot)
        restarts, requests, *_ = _SLOT.unpack_from(self._memory, offset)
        last = (exit_.at, exit_.pid, _text(exit_.reason, 96))
        _SLOT.pack_into(self._memory, offset, restarts + restarted, requests, *last)

    # --- read by anyone

    def master(self) -> Master:
        """Whose board it is; ask the kernel whether that process still lives."""
        fields = _HEADER.unpack_from(self._memory)[5:]
        pid, ticks, started, wanted, generation, mode, release, app_name, address = fields
        return Master(
            pid=pid,
            start_ticks=ticks,
            started=started,
            mode=_string(mode),
            wanted=wanted,
            generation=generation,
            release=_string(release),
            app_name=_string(app_name),
            address=_string(address),
        )

    def rows(self) -> list[Row]:
        """Every worker there is, by slot, the newest first."""
        rows = [row for number in range(ROWS) if (row := self._row(number))]
        return sorted(rows, key=lambda row: (row.slot, -row.generation, -row.started))

    def _row(self, number: int) -> Row | None:
        offset = _row_offset(number)
        for _ in range(3):
            if _STATE.unpack_from(self._memory, offset)[0] == State.FREE:
                return None
            raw = self._memory[offset : offset + _ROW.size]
            if self._memory[offset + 4 : offset + _LIFE] == raw[4:_LIFE]:
                return self._decode(raw)
        return None  # it changes hands faster than we read: nobody's row

    def _decode(self, raw: bytes) -> Row:
        state, slot, pid, generation, started, ready, requests, busy, release = _ROW.unpack(raw)
        restarts, before, at, exit_pid, reason = _SLOT.unpack_from(self._memory, _slot_offset(slot))
        return Row(
            slot=slot,
            state=State(state),
            pid=pid,
            generation=generation,
            release=_string(release),
            started=started,
            ready_after_ms=None if math.isnan(ready) else ready,
            requests=requests,
            busy=busy,
            restarts=restarts,
            requests_before=before,
            last_exit=Exit(at=at, pid=exit_pid, reason=_string(reason)) if at else None,
        )


def _slot_offset(slot: int) -> int:
    return _HEADER_SIZE + (slot - 1) * _SLOT.size


def _row_offset(number: int) -> int:
    return _HEADER_SIZE + SLOTS_MAX * _SLOT.size + number * _ROW.size


def _text(value: str, size: int) -> bytes:
    """At most `size` bytes of UTF-8, cut between characters."""
    return value.encode()[:size].decode(errors="ignore").encode()


def _string(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
