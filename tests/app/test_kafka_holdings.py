"""What one member of a group holds."""

from __future__ import annotations

from app.events.bus import Message
from app.events.kafka_holdings import Holdings


def message(offset: int, *, partition: int = 0) -> Message:
    return Message(topic="t", partition=partition, offset=offset, key="", value=b"")


def holding(*offsets: int) -> Holdings:
    holdings = Holdings()
    holdings.gain([("t", 0), ("t", 1)])
    for offset in offsets:
        holdings.put(message(offset))
    return holdings


def test_messages_come_in_their_order_and_once() -> None:
    holdings = holding(1, 2, 3)
    assert [each.offset for each in holdings.take(2)] == [1, 2]
    assert [each.offset for each in holdings.take(2)] == [3]
    assert holdings.take(2) == []


def test_what_was_taken_is_held_until_it_is_finished() -> None:
    holdings = holding(1, 2)
    holdings.take(2)
    holdings.finish([message(1)])
    assert not holdings.holds(message(1))
    assert holdings.holds(message(2))
    assert not holdings.holds(message(3))


def test_a_partition_that_goes_takes_its_messages_along() -> None:
    holdings = holding(1)
    holdings.put(message(5, partition=1))
    holdings.lose([("t", 0)])
    assert not holdings.holds(message(1))
    assert [each.partition for each in holdings.take(9)] == [1]
    holdings.put(message(2))  # from before, gathered already
    assert holdings.waiting == 0


def test_a_partition_that_comes_back_is_read_from_where_it_was_committed() -> None:
    holdings = holding(1, 2)
    holdings.lose([("t", 0)])
    holdings.gain([("t", 0)])
    assert not holdings.holds(message(1))
    assert holdings.to_tell() == []


def test_only_positions_that_moved_are_told() -> None:
    holdings = holding(5, 6, 7)
    assert holdings.to_tell() == []  # nothing is finished
    holdings.finish([message(6)])
    assert holdings.to_tell() == []  # 5 is not
    holdings.finish([message(5)])
    assert holdings.to_tell() == [("t", 0, 7)]
    assert holdings.to_tell() == []
    holdings.finish([message(7)])
    assert holdings.to_tell() == [("t", 0, 8)]


def test_what_was_not_taken_note_of_is_told_again() -> None:
    holdings = holding(5, 6)
    holdings.finish([message(5)])
    assert holdings.to_tell() == [("t", 0, 6)]
    holdings.untold("t", 0, 6)
    assert holdings.to_tell() == [("t", 0, 6)]


def test_an_old_refusal_says_nothing_of_what_was_told_since() -> None:
    holdings = holding(5, 6)
    holdings.finish([message(5)])
    holdings.to_tell()
    holdings.finish([message(6)])
    assert holdings.to_tell() == [("t", 0, 7)]
    holdings.untold("t", 0, 6)
    holdings.untold("t", 9, 6)
    assert holdings.to_tell() == []
