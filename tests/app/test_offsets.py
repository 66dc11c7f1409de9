"""Which offset may be committed."""

from __future__ import annotations

import pytest

from app.events.offsets import Offsets


@pytest.mark.parametrize(
    ("received", "finished", "position"),
    [
        ([], [], None),
        ([], [7], None),
        ([0], [], 0),
        ([0], [0], 1),
        ([5, 6, 7], [], 5),
        ([5, 6, 7], [5], 6),
        ([5, 6, 7], [6, 7], 5),
        ([5, 6, 7], [7, 5], 6),
        ([5, 6, 7], [5, 6, 7], 8),
        ([5, 6, 7], [5, 5, 4, 9], 6),
        # gaps, from compaction and from transactions
        ([5, 9], [5], 9),
        ([5, 9], [9], 5),
        ([5, 9, 20], [5, 9, 20], 21),
        ([2**40], [2**40], 2**40 + 1),
    ],
)
def test_position_is_the_first_unfinished_else_after_the_last(
    received: list[int], finished: list[int], position: int | None
) -> None:
    offsets = Offsets()
    for offset in received:
        offsets.received(offset)
    for offset in finished:
        offsets.finish(offset)
    assert offsets.position == position
    assert offsets.unfinished == set(received) - set(finished)
    assert all(offsets.holds(offset) == (offset not in finished) for offset in received)


def test_position_never_passes_what_is_unfinished_while_more_is_received() -> None:
    offsets = Offsets()
    for offset in range(100):
        offsets.received(offset)
        if offset != 3:
            offsets.finish(offset)
        assert offsets.position == min(offset, 3) + (offset < 3)
    offsets.finish(3)
    assert offsets.position == 100


@pytest.mark.parametrize(
    ("then", "finished", "position"),
    [
        # received again while it is worked on
        ([6], [], 5),
        ([6], [5, 6], 7),
        # received again after it was finished: the log was made anew, or read again from there
        ([2], [5, 6, 7], 2),
        ([2], [2, 5, 6, 7], 3),
        ([2, 3, 5], [2, 3, 5, 6, 7], 6),
    ],
)
def test_what_is_received_again_is_unfinished_again(
    then: list[int], finished: list[int], position: int
) -> None:
    offsets = Offsets()
    for offset in (5, 6, 7, *then):
        offsets.received(offset)
    for offset in finished:
        offsets.finish(offset)
    assert offsets.position == position


def test_what_it_shows_cannot_change_it() -> None:
    offsets = Offsets()
    offsets.received(1)
    shown = offsets.unfinished
    offsets.finish(1)
    assert shown == {1}
    assert offsets.unfinished == frozenset()
