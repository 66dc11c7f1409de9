"""What the comparison rests on: answers are read strictly, ends told apart, differences noticed."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.loadtests.servers import OK, Peer, Serve, serving
from tests.worker.answer import Answer, parse
from tests.worker.case import Await, raw, request
from tests.worker.exchange import Address, exchange
from tests.worker.record import Record, differences
from tests.worker.stage import Pair

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBED = OK.replace(b"2\r\n\r\nok", b"6\r\n\r\n/probe")


@pytest.mark.parametrize(
    ("stream", "ended", "framings", "trailing"),
    [
        (OK, False, ["length"], b""),
        (OK + CHUNKED, False, ["length", "chunked"], b""),
        (CONTINUE + OK, False, ["none", "length"], b""),
        (OK[:-1], True, ["length, cut short"], b""),
        (OK + b"x", True, ["length"], b"x"),
        (CHUNKED + b"0\r\n\r\n", True, ["chunked"], b"0\r\n\r\n"),
        (CHUNKED[:-5], True, ["chunked, cut short"], b""),
        (
            CHUNKED.replace(b"2\r\nhi", b"3\r\nhi"),
            True,
            ["chunked, cut short"],
            b"3\r\nhi\r\n0\r\n\r\n",
        ),
        (TO_THE_END, True, ["to the end"], b""),
        (TO_THE_END, False, ["to the end, cut short"], b""),
        (OK.replace(b"\r\n", b"\n"), True, [], OK.replace(b"\r\n", b"\n")),
        (b"HTTP/1.1 200\r\nX : y\r\n\r\n", True, [], b"HTTP/1.1 200\r\nX : y\r\n\r\n"),
    ],
)
def test_answers_are_read_strictly(
    stream: bytes, ended: bool, framings: list[str], trailing: bytes
) -> None:
    parsed = parse(stream, heads=(), ended=ended)
    assert ([answer.framing for answer in parsed.answers], parsed.trailing) == (framings, trailing)


def test_an_answer_to_head_has_no_body() -> None:
    length = OK[:-2]
    parsed = parse(CONTINUE + length + OK, heads={0}, ended=False)
    assert (parsed.finals, parsed.trailing) == (2, b"")
    assert [answer.body for answer in parsed.answers] == ["", "", "ok"]


ANSWER = Answer("HTTP/1.1 200 OK", ("A: 1", "B: 2"), "length", '{"PATH_INFO": "/", "x": "y"}')
RECORD = Record((ANSWER,), "", "closed", "1")


def _answered(**changes: object) -> Record:
    return replace(RECORD, answers=(replace(ANSWER, **changes),))  # type: ignore[arg-type] # any


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (_answered(status_line="HTTP/1.1 200 Ok"), "status line"),
        (_answered(fields=("A: 1", "B: 3")), "fields"),
        (_answered(fields=("A: 1",)), "fields"),
        (_answered(fields=("B: 2", "A: 1")), "order of the fields"),
        (_answered(framing="chunked"), "framing"),
        (_answered(body='{"PATH_INFO": "//", "x": "y"}'), "body, PATH_INFO"),
        (_answered(body='{"PATH_INFO": "/"}'), "body, x"),
        (_answered(body='{"PATH_INFO":"/","x":"y"}'), "body"),
        (_answered(body="else"), "body"),
        (replace(RECORD, answers=()), "answer 1"),
        (replace(RECORD, answers=(ANSWER, ANSWER)), "answer 2"),
        (replace(RECORD, trailing="x"), "trailing"),
        (replace(RECORD, ending="open"), "ending"),
        (replace(RECORD, closings="2"), "closings"),
    ],
)
def test_every_difference_is_named(other: Record, named: str) -> None:
    (found,) = differences(RECORD, other)
    assert f"{named}:\n" in found
    assert differences(other, other) == []


def test_a_record_survives_the_way_to_another_process() -> None:
    assert Record.from_message(RECORD.as_message()) == RECORD


@contextmanager
def _at(serve: Serve) -> Iterator[Address]:
    with serving(serve) as target:
        yield ("127.0.0.1", int(target.rstrip("/").rpartition(":")[2]))


def _keeps_open(peer: Peer) -> None:
    for answer in (OK, PROBED):
        peer.read_request()
        peer.send(answer)


def _closes(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)


def _resets(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    peer.reset()


def _waits(peer: Peer) -> None:
    while peer.read_request():
        pass


def _is_slow(peer: Peer) -> None:
    peer.read_request()
    time.sleep(0.5)
    peer.send(OK)


def _answers_to_the_end(peer: Peer) -> None:
    while peer.read_request():
        pass
    peer.send(OK)


@pytest.mark.parametrize(
    ("serve", "ending", "answers"),
    [
        (_keeps_open, "open: a further request was answered", 2),
        (_closes, "closed", 1),
        (_resets, "closed", 1),
        (_waits, Record.WAITED, 0),
        (_answers_to_the_end, Record.WAITED, 1),
    ],
)
def test_what_becomes_of_a_connection_is_told(serve: Serve, ending: str, answers: int) -> None:
    with _at(serve) as address:
        record = exchange(address, raw("", request()))
    assert (record.ending, len(record.answers)) == (ending, answers)


def test_the_next_step_waits_for_what_is_awaited() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(CONTINUE)
        peer.read_request()
        peer.send(OK)

    with _at(serve) as address:
        record = exchange(address, raw("", request(), Await(b"100 Continue"), request()))
    assert [answer.status_line for answer in record.answers] == [
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 200 OK",
    ]


def test_the_server_reads_piece_by_piece() -> None:
    case = raw("", request()).split(5, 6, 20)
    pieces: list[bytes] = []

    def read_slowly() -> None:
        peer, _ = listener.accept()
        with peer:
            while b"\r\n\r\n" not in b"".join(pieces):
                time.sleep(0.02)
                pieces.append(peer.recv(100))
            peer.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_slowly)
        exchange(listener.getsockname(), case)
        reading.result()
    assert tuple(pieces) == case.steps


def test_a_slow_server_is_not_taken_for_one_that_waits() -> None:
    with _at(_is_slow) as slow, _at(_closes) as quick:
        two = Pair(slow, quick).play(raw("", request()))
    assert two.ours == two.stock
    with _at(_waits) as waiting, _at(_closes) as quick:
        two = Pair(waiting, quick).play(raw("", request()))
    assert two.ours.waited
    assert not two.stock.waited
