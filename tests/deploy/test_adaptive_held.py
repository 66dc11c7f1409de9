"""Answers that wait for the others of their turn."""

from __future__ import annotations

import socket

from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.held import HELD_SECONDS, QUICK_SECONDS, Held


def connection() -> Connection:
    with socket.socket() as sock:
        return Connection(sock, None, None)


def test_they_are_sent_in_their_order_and_the_first_decides_when() -> None:
    held = Held()
    first, second = connection(), connection()
    assert not held
    assert not held.due(1e9)
    held.hold(first, b"1", 1.0)
    held.hold(second, b"2", 1.0 + HELD_SECONDS / 2)
    assert not held.due(1.0 + HELD_SECONDS * 0.9)
    assert held.due(1.0 + HELD_SECONDS * 1.1)
    assert held.take() is first
    held.put_back(first)
    assert [held.take(), held.take(), held.take()] == [first, second, None]
    held.hold(first, b"1", 9.0)
    assert not held.due(9.0 + HELD_SECONDS / 2)


def test_behind_a_request_that_was_not_quick_none_waits_for_a_while() -> None:
    held, quick = Held(), []
    for seconds in (QUICK_SECONDS, *[QUICK_SECONDS / 2] * 17):
        quick.append(held.quick)
        held.took(seconds)
    assert quick == [True, *[False] * 16, True]


def test_of_who_answers_and_who_sends_the_second_goes_on() -> None:
    one = connection()
    for _ in range(3):
        one.hold(b"answer")
        assert one.holding
        assert one.unsent == b"answer"
        assert not one.meet()
        assert one.meet()
