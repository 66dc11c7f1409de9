from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster import protocol
from deploy.cluster.protocol import ProtocolError

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Pair]:
    ours, theirs = protocol.pair()
    with ours, theirs:
        yield ours, theirs


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "hello", "protocol": protocol.VERSION},
        {"type": "failed", "reason": "ÄÖ → 大\n\0", "exit_code": None},
        {"type": "configured", "settings": {"bind": ["a", "b"]}, "config": {"workers": 3}},
    ],
)
def test_a_message_arrives_as_it_was_sent(ends: Pair, message: protocol.Message) -> None:
    ours, theirs = ends
    protocol.send(theirs, message)
    assert protocol.receive(ours) == (message, [])
    protocol.send(ours, message)
    assert protocol.receive(theirs) == (message, [])


def test_messages_are_kept_apart_and_in_order(ends: Pair) -> None:
    ours, theirs = ends
    for number in range(20):
        protocol.send(theirs, {"number": number})
    for number in range(20):
        assert protocol.receive(ours) == ({"number": number}, [])


def test_the_master_never_waits_for_a_message(ends: Pair) -> None:
    ours, theirs = ends
    with pytest.raises(BlockingIOError):
        protocol.receive(ours)
    assert theirs.getblocking()


def test_the_master_never_waits_for_a_mold_that_does_not_read(ends: Pair) -> None:
    ours, _ = ends

    def send_many() -> None:
        for _ in range(10_000):
            protocol.send(ours, {"type": "spawn", "filler": "x" * 1000})

    with pytest.raises(BlockingIOError):
        send_many()


def test_descriptors_travel_with_their_message(ends: Pair) -> None:
    ours, theirs = ends
    reader, writer = os.pipe()
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        protocol.send(ours, {"type": "spawn"}, [writer, listener.fileno()])
        received = protocol.receive(theirs)
        assert received is not None
        message, (passed_writer, passed_listener) = received
        assert message == {"type": "spawn"}
        with socket.socket(fileno=passed_listener) as same:
            assert same.getsockname() == listener.getsockname()
    os.close(writer)
    os.write(passed_writer, b"still open")
    os.close(passed_writer)
    assert os.read(reader, 100) == b"still open"
    os.close(reader)


def test_as_many_descriptors_as_a_worker_may_need(ends: Pair) -> None:
    ours, theirs = ends
    null = os.open(os.devnull, os.O_RDONLY)
    protocol.send(ours, {}, [null] * 128)
    received = protocol.receive(theirs)
    assert received is not None
    assert len(set(received[1])) == 128
    for fd in [null, *received[1]]:
        os.close(fd)


def test_a_descriptor_that_is_closed_cannot_be_sent(ends: Pair) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        protocol.send(ends[0], {}, [writer])


@pytest.mark.parametrize("closed", [0, 1], ids=["master", "mold"])
def test_a_peer_that_is_gone_is_heard_out_and_then_none(ends: Pair, closed: int) -> None:
    here, gone = ends[1 - closed], ends[closed]
    protocol.send(gone, {"type": "failed"})
    gone.close()
    assert protocol.receive(here) == ({"type": "failed"}, [])
    assert protocol.receive(here) is None
    assert protocol.receive(here) is None
    with pytest.raises(OSError, match="Broken pipe"):
        protocol.send(here, {"type": "load"})


def test_a_peer_that_went_without_reading_is_gone_too(ends: Pair) -> None:
    ours, theirs = ends
    protocol.send(ours, {"type": "load"})
    theirs.close()  # the kernel says so with a reset
    assert protocol.receive(ours) is None


def test_the_last_words_of_a_peer_that_went_without_reading_are_heard(ends: Pair) -> None:
    ours, theirs = ends
    protocol.send(theirs, {"type": "failed"})
    protocol.send(ours, {"type": "reopen"})
    theirs.close()
    assert protocol.receive(ours) == ({"type": "failed"}, [])


def test_a_child_that_is_killed_is_a_peer_that_is_gone(ends: Pair) -> None:
    ours, theirs = ends
    pid = os.fork()
    if pid == 0:
        ours.close()
        protocol.send(theirs, {"type": "hello"})
        os._exit(0)
    theirs.close()
    os.waitpid(pid, 0)
    assert protocol.receive(ours) == ({"type": "hello"}, [])
    assert protocol.receive(ours) is None


NONSENSE = [b"x", b"{", b"[1]", b'"text"', b"null", b"7", b"\xff\xfe{}", b"\0" * 200, b"{}{}"]


@pytest.mark.parametrize("raw", NONSENSE)
def test_nonsense_is_refused_and_what_follows_is_understood(ends: Pair, raw: bytes) -> None:
    ours, theirs = ends
    theirs.send(raw)
    protocol.send(theirs, {"type": "ready"})
    with pytest.raises(ProtocolError, match="not a message: b") as refusal:
        protocol.receive(ours)
    assert len(str(refusal.value)) < 400
    assert protocol.receive(ours) == ({"type": "ready"}, [])


@pytest.mark.parametrize(
    "raw",
    [
        *NONSENSE,
        b"",
        b"[" * 100_000,
    ],
)
def test_a_line_of_a_report_is_one_object_or_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.decode(raw)
    assert protocol.decode(b' {"pid": 7}\n') == {"pid": 7}


def test_nonsense_leaves_no_descriptor_open(ends: Pair) -> None:
    ours, theirs = ends
    with open(os.devnull) as null:  # noqa: PTH123 - a descriptor to send
        socket.send_fds(theirs, [b"nonsense"], [null.fileno()])
    before = open_descriptors()
    with pytest.raises(ProtocolError):
        protocol.receive(ours)
    assert open_descriptors() == before


@pytest.mark.parametrize(("text", "kept"), [("", ""), ("short", "short"), ("é" * 9, "é" * 9)])
def test_a_short_text_stays_whole(text: str, kept: str) -> None:
    assert protocol.shortened(text) == kept


@pytest.mark.parametrize(
    "filler",
    ["x", "\n", "é", "大", "\0", "😀"],
)
def test_the_end_of_the_longest_traceback_fits_into_a_message(ends: Pair, filler: str) -> None:
    ours, theirs = ends
    traceback = protocol.shortened(filler * 1_000_000 + "ImportError: no")
    message = {"type": "failed", "reason": "r" * 500, "traceback": traceback, "exit_code": None}
    protocol.send(theirs, message)
    assert protocol.receive(ours) == (message, [])
    assert traceback.endswith("ImportError: no")
