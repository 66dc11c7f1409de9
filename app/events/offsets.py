"""Which offset of a partition may be committed. Pure."""

from __future__ import annotations


class Offsets:
    """One partition's messages, from the moment when this member of the group got the partition.

    Offsets have gaps, where a log was compacted or where a transaction's markers stand, so that
    only what was received tells what comes next. A lower offset than before is no error: the
    partition is read again from there.
    """

    def __init__(self) -> None:
        self._unfinished: set[int] = set()
        self._last: int | None = None

    @property
    def unfinished(self) -> frozenset[int]:
        """What was received and is not finished."""
        return frozenset(self._unfinished)

    @property
    def position(self) -> int | None:
        """Where the next owner begins: at the first unfinished, else after the last received.

        None before anything was received: what was committed before stays.
        """
        if self._unfinished:
            return min(self._unfinished)
        return None if self._last is None else self._last + 1

    def received(self, offset: int) -> None:
        self._unfinished.add(offset)
        self._last = offset

    def finish(self, offset: int) -> None:
        """What was not received, or is finished, is ignored."""
        self._unfinished.discard(offset)

    def holds(self, offset: int) -> bool:
        """Whether it was received and is not finished."""
        return offset in self._unfinished
