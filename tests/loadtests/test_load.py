"""The client against servers that behave, and misbehave in one way each."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtests.connection import Connection
from loadtests.load import Connections, Load
from loadtests.outcome import Kind
from loadtests.report import Report
from loadtests.target import Target, TargetError
from tests.loadtests.servers import OK, Peer, Serve, always, once, serving
from tests.wait import wait_until


def run(target: Target | str, **options: Any) -> Report:
    """The report of twenty requests, or as the options say."""
    with Load(target, **{"rate": 200, "duration": 0.1, "timeout": 20, **options}) as load:
        assert load.wait(40)
    return load.report


@contextmanager
def nobody_listening() -> Iterator[str]:
    """A port that is taken, so that nobody else can, and refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


def reset(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


def hang(peer: Peer) -> None:
    while peer.read_request():
        pass


@pytest.mark.parametrize("connections", ["fresh", "keepalive", "both"])
def test_a_good_server_loses_nothing(connections: Connections) -> None:
    with serving(always(OK)) as target:
        # Long enough that a stall does not have every request open a connection of its own.
        report = run(target, connections=connections, rate=100, duration=1.5)
    assert (report.sent, report.answered, report.failures) == (150, 150, {})
    assert {outcome.kind for outcome in report.outcomes} == (
        set(Kind) if connections == "both" else {Kind(connections)}
    )
    assert bool(report.reused) == (connections != "fresh")


@pytest.mark.parametrize(
    ("serve", "fault", "detail"),
    [
        (reset, "reset", "Connection reset by peer"),
        (lambda peer: peer.read_request(), "eof", "closed before the answer"),
        (once(OK[:25]), "eof", "closed after 25 bytes"),
        (once(OK[:-1]), "eof", f"closed after {len(OK) - 1} bytes"),
        (hang, "timeout", "waiting for the answer"),
        (always(OK.replace(b"200", b"503")), "server_error", "status 503"),
        (always(OK.replace(b"200", b"404")), "client_error", "status 404"),
        (always(b"not HTTP\r\n\r\n"), "other", "status line b'not HTTP'"),
    ],
)
def test_each_failure_is_named(serve: Serve, fault: str, detail: str) -> None:
    with serving(serve) as target:
        report = run(target, **({"timeout": 1} if fault == "timeout" else {}))
    assert report.failures == {fault: 20}
    assert f"{fault}: {detail}" in report.details[0]


def test_a_port_without_a_listener_refuses() -> None:
    with nobody_listening() as target:
        assert run(target).failures == {"refused": 20}


@pytest.mark.parametrize(
    ("serve", "reuses"),
    [
        (once(OK), False),  # closes while the connection idles, and had not said so
        (always(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")), False),
        (once(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), False),
        (once(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"), False),
        (
            always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            True,
        ),
    ],
)
def test_every_way_to_end_an_answer_is_understood(serve: Serve, reuses: bool) -> None:
    with serving(serve) as target:
        # A connection's next turn is 0.6 s after its last: also a slow server has closed by then.
        report = run(target, rate=25, duration=1.6)
    assert (report.answered, report.failures) == (40, {})
    assert bool(report.reused) == reuses


def test_an_idle_connection_is_closed_before_the_server_would() -> None:
    with serving(always(OK)) as target:
        # An answer may be late by most of a second, and its connection still idles for too long.
        report = run(target, connections="keepalive", rate=1, duration=3, idle_limit=0.05)
    assert (report.answered, report.reused, report.failures) == (3, 0, {})


def test_several_connections_are_kept_and_used_in_turn() -> None:
    served: dict[Peer, int] = {}

    def serve(peer: Peer) -> None:
        while peer.read_request():
            served[peer] = served.get(peer, 0) + 1
            peer.send(OK)

    with serving(serve) as target:
        # Slow, for each stall opens more connections, which then have their turns too.
        report = run(target, connections="keepalive", rate=50, duration=3)
    assert report.failures == {}
    assert len(served) >= 8
    assert sorted(served.values())[-8] >= 3


def test_an_end_that_the_loop_has_not_read_yet_is_seen_before_sending() -> None:
    async def scenario() -> tuple[bool, bool]:
        ours, theirs = socket.socketpair()
        with theirs:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, sock=ours)
            before = connection.usable()
        after = connection.usable()
        connection.close()
        await asyncio.sleep(0)
        return before, after

    assert asyncio.run(scenario()) == (True, False)


def test_a_stall_is_seen_by_every_request_that_was_due_during_it() -> None:
    lock, never, numbers = threading.Lock(), threading.Event(), itertools.count()
    stall: list[float] = []  # its begin and its end

    def serve(peer: Peer) -> None:
        while peer.read_request():
            with lock:
                if next(numbers) == 40:
                    stall.append(load.elapsed())
                    never.wait(1.0)
                    stall.append(load.elapsed())
            peer.send(OK)

    with serving(serve) as target:
        load = Load(target, rate=100, duration=2, timeout=20)
        with load:
            assert load.wait(40)
    report, (begin, end) = load.report, stall
    assert (report.sent, report.answered, report.failures) == (200, 200, {})
    assert report.latency(99) > 0.9
    during = report.in_window(begin, end)
    assert during.sent >= 50
    # Nobody got an answer before the end, and each has waited for it since it was due.
    assert all(outcome.latency >= end - outcome.due for outcome in during.outcomes)
    assert during.lateness(50) < 0.25  # the client itself went on sending


def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    with serving(always(OK), path=tmp_path / "s") as target:
        report = run(Target.parse(target, "/x"))
    assert (report.answered, report.failures) == (20, {})


def test_a_unix_socket_that_is_not_there_refuses(tmp_path: Path) -> None:
    assert run(f"unix:{tmp_path / 's'}").failures == {"refused": 20}


def test_a_unix_socket_whose_backlog_is_full_refuses(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        failures = run(f"unix:{tmp_path / 's'}", timeout=0.3).failures
    assert failures["refused"] >= 15
    assert failures["refused"] + failures["timeout"] == 20


def test_the_block_decides_how_long_requests_begin() -> None:
    with serving(always(OK)) as target, Load(target, rate=100) as load:
        wait_until(lambda: load.progress[0] >= 30, what="thirty requests")
        moment = load.elapsed()
        wait_until(lambda: load.report.in_window(moment, 99).sent >= 5, what="five more")
    report = load.report
    assert report.failures == {}
    assert 35 <= report.sent == load.progress[0]
    assert 0.29 <= moment < report.seconds < 30, "the thirtieth is due 0.29 s after the first"
    assert [outcome.due for outcome in report.outcomes[:3]] == pytest.approx([0, 0.01, 0.02])


def test_a_block_that_ends_early_cuts_the_duration_short() -> None:
    with serving(always(OK)) as target, Load(target, rate=100, duration=60) as load:
        # Two seconds of them: the moment between the last one and the end counts for little.
        wait_until(lambda: load.progress[0] >= 200, what="two hundred requests")
    assert load.report.rate == pytest.approx(100, rel=0.2)
    assert load.report.seconds < 30


def test_those_in_flight_at_the_end_are_waited_for() -> None:
    gate = threading.Event()

    def serve(peer: Peer) -> None:
        while peer.read_request():
            gate.wait(10)
            peer.send(OK)

    with serving(serve) as target, Load(target, rate=100) as load:
        wait_until(lambda: load.progress[1] >= 10, what="ten in flight")
        threading.Timer(0.2, gate.set).start()
    assert load.report.failures == {}
    assert load.report.answered == load.report.sent >= 10


def test_an_error_in_the_block_is_the_one_that_is_raised() -> None:
    with (
        pytest.raises(RuntimeError, match="of the block"),
        serving(always(OK)) as target,
        Load(target),
    ):
        raise RuntimeError("of the block")


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="finite and greater than 0"):
        Load("unix:/x", timeout=0)
    with pytest.raises(ValueError, match="finite and greater than 0"):
        Load("unix:/x", rate=float("nan"))
    with pytest.raises(TargetError):
        Load("http://192.0.2.1/")
