"""One row for each worker in shared memory: written by master and worker, read by anyone.

A file in the runtime directory, mapped by every process that wants it. A worker that drains beside
its successor has a row of its own, so there are more rows than slots. The master gives a row to a
worker before it forks and takes it back when it has reaped the worker; the worker writes only into
its row. What belongs to the slot and not to one worker (restarts, the last exit) is kept apart.

Readers take no lock: each field is read whole (`layout.py`), and that a row was not given to
another worker meanwhile is checked by reading it twice.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.state import layout, reload_record
from deploy.state.layout import State
from deploy.state.reload_record import Reload
from deploy.state.seat import Seat
from deploy.state.slot_record import Exit, SlotRecord


class ScoreboardError(RuntimeError):
    """The file is no scoreboard of this version of the kit."""


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
    heartbeat: float  # monotonic seconds of the last sign of life; 0 while it boots
    overdue: float  # monotonic seconds of the begin of a request over its time; 0 for none
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
    application: str = ""  # module:callable; empty where an older kit's master does not say it


class Scoreboard:
    """The board in `path`: `create` it as the master, `open` it as anyone else."""

    def __init__(self, path: Path, memory: mmap.mmap, inode: int, fd: int | None = None):
        self.path = path
        self._fd = fd  # of those who write
        self._memory = memory
        self._inode = inode

    @classmethod
    def create(cls, path: Path, master: Master) -> Scoreboard:
        """A new board in place of the old one; who has the old one mapped keeps that."""
        fd, new = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            # Reserved, not left sparse: on a full disk a store into a hole would be a SIGBUS.
            os.posix_fallocate(fd, 0, layout.SIZE)
            memory = mmap.mmap(fd, layout.SIZE)
            _pack_header(memory, master)
            os.fchmod(fd, 0o644)
            inode = os.fstat(fd).st_ino
            Path(new).rename(path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            os.close(fd)
            raise
        return cls(path, memory, inode, fd)

    @classmethod
    def attach(cls, fd: int, path: Path) -> Scoreboard:
        """The board that the master has passed on as a descriptor, to write to."""
        return cls(path, mmap.mmap(fd, layout.SIZE), os.fstat(fd).st_ino, fd)

    @classmethod
    def open(cls, path: Path) -> Scoreboard:
        """Maps an existing board for reading; raises FileNotFoundError or ScoreboardError."""
        with path.open("rb") as file:
            try:
                memory = mmap.mmap(file.fileno(), layout.SIZE, access=mmap.ACCESS_READ)
            except ValueError:  # the file is shorter than a board
                raise ScoreboardError(f"{path} is no scoreboard") from None
            inode = os.fstat(file.fileno()).st_ino
        magic, version = struct.unpack_from("<8sI", memory)
        if magic != layout.MAGIC or version != layout.VERSION:
            memory.close()
            raise ScoreboardError(f"{path} is no scoreboard of version {layout.VERSION}")
        return cls(path, memory, inode)

    @property
    def descriptor(self) -> int:
        """The open file, to pass on; raises ScoreboardError on a board that is only read."""
        if self._fd is None:
            raise ScoreboardError(f"{self.path} is open for reading only")
        return self._fd

    def close(self) -> None:
        """Unmaps the board; seats given out by it are of no use any more."""
        self._memory.close()
        if self._fd is not None:
            os.close(self._fd)

    def remove(self) -> None:
        """Takes the file away, unless another master has put its own in place."""
        with contextlib.suppress(FileNotFoundError):
            # Followed through a link, which stands there when the file itself had been deleted.
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    # --- written by the master

    def describe(self, master: Master) -> None:
        """What the master was told to run has changed: its number of workers, or all of it."""
        _pack_header(self._memory, master)

    def claim(self, slot: int, *, generation: int, release: str) -> Seat | None:
        """A row for a worker that is about to be forked into `slot`; None when all are taken."""
        for number in range(layout.ROWS):
            offset = layout.row_offset(number)
            if layout.STATE.unpack_from(self._memory, offset)[0] != State.FREE:
                continue
            row = (State.FREE, slot, 0, generation, time.time(), math.nan, 0, 0, 0.0, 0.0)
            layout.ROW.pack_into(self._memory, offset, *row, layout.text(release, 64), 0, 0, 0.0)
            # Published last: a reader never sees a row that is half the former worker's.
            layout.STATE.pack_into(self._memory, offset, State.BOOTING)
            return Seat(self._memory, offset, slot=slot, generation=generation)
        return None

    def seat(self, offset: int, *, slot: int, generation: int, born: float) -> Seat:
        """The row that the master has claimed, as its worker sees it."""
        return Seat(self._memory, offset, slot=slot, generation=generation, born=born)

    def vacate(self, seat: Seat) -> None:
        """Frees the row of a worker that was reaped; its requests stay with the slot."""
        if seat.slot:
            self.slot(seat.slot).add_requests(seat.requests)
        seat.free()

    def slot(self, slot: int) -> SlotRecord:
        """What is known of the slot (from 1), whoever sits in it."""
        return SlotRecord(self._memory, slot)

    def fail(self, check: str) -> None:
        """Names the check that fails, so that the service is degraded; empty: none does."""
        raw = layout.text(check, layout.FAILING_BYTES).ljust(layout.FAILING_BYTES, b"\0")
        self._memory[layout.FAILING : layout.FAILING + layout.FAILING_BYTES] = raw

    def describe_reload(self, reload: Reload) -> None:
        """Where the reload stands."""
        reload_record.write(self._memory, reload)

    # --- read by anyone

    def master(self) -> Master:
        """Whose board it is; ask the kernel whether that process still lives."""
        fields = layout.HEADER.unpack_from(self._memory)[5:]
        pid, ticks, started, wanted, generation, mode, release, *texts = fields
        app_name, address, application = map(layout.string, texts)
        return Master(
            pid=pid,
            start_ticks=ticks,
            started=started,
            mode=layout.string(mode),
            wanted=wanted,
            generation=generation,
            release=layout.string(release),
            app_name=app_name,
            address=address,
            application=application,
        )

    def reload(self) -> Reload:
        """The last reload, running or done."""
        return reload_record.read(self._memory)

    @property
    def failing(self) -> str:
        """The check that fails; empty when none does."""
        return layout.string(self._memory[layout.FAILING : layout.FAILING + layout.FAILING_BYTES])

    def rows(self) -> list[Row]:
        """Every worker there is, by slot, the newest first."""
        rows = [row for number in range(layout.ROWS) if (row := self._row(number))]
        return sorted(rows, key=lambda row: (row.slot, -row.generation, -row.started))

    def _row(self, number: int) -> Row | None:
        offset = layout.row_offset(number)
        for _ in range(3):
            if layout.STATE.unpack_from(self._memory, offset)[0] == State.FREE:
                return None
            raw = self._memory[offset : offset + layout.ROW.size]
            if self._memory[offset + 4 : offset + layout.LIFE] == raw[4 : layout.LIFE]:
                return self._decode(raw)
        return None  # it changes hands faster than we read: nobody's row

    def _decode(self, raw: bytes) -> Row:
        fields = layout.ROW.unpack(raw)
        state, slot, pid, generation, started, ready, requests, busy, *rest = fields
        heartbeat, overdue, release, *_ = rest
        record = self.slot(slot) if slot else None
        exits = record.exits if record else []
        return Row(
            slot=slot,
            state=State(state),
            pid=pid,
            generation=generation,
            release=layout.string(release),
            started=started,
            ready_after_ms=None if math.isnan(ready) else ready,
            requests=requests,
            busy=busy,
            heartbeat=heartbeat,
            overdue=overdue,
            restarts=record.restarts if record else 0,
            requests_before=record.requests if record else 0,
            last_exit=exits[0] if exits else None,
        )


def _pack_header(memory: mmap.mmap, master: Master) -> None:
    layout.HEADER.pack_into(
        memory,
        0,
        layout.MAGIC,
        layout.VERSION,
        layout.SLOTS_MAX,
        layout.ROWS,
        0,
        master.pid,
        master.start_ticks,
        master.started,
        master.wanted,
        master.generation,
        layout.text(master.mode, 16),
        layout.text(master.release, 64),
        layout.text(master.app_name, 64),
        layout.text(master.address, 240),
        layout.text(master.application, 64),
    )
