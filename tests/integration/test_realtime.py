"""WebSockets on a real cluster: what reaches whom, and who is refused."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.cluster import Cluster
from tests.integration.realtime_clients import (
    HANDSHAKE,
    SECONDS,
    close_code,
    join,
    one_on_each,
    raw,
    serving,
    status_of,
    worker_of,
)
from tests.wait import wait_until


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    with serving(tmp_path, database_url) as cluster:
        yield cluster
        assert not cluster.lines(r"ERROR|CRITICAL|Traceback")


@pytest.fixture
def single(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    with serving(tmp_path, database_url, CLUSTER_WORKERS="1", CLUSTER_MODE="fork") as cluster:
        yield cluster
        assert not cluster.lines(r"ERROR|CRITICAL|Traceback")


def test_a_message_reaches_the_clients_of_every_worker_once_and_in_order(served: Cluster) -> None:
    with one_on_each(served.port) as clients:
        assert clients.keys() == served.pids().keys()
        said = {name: [f"{name} says {n} ✓" for n in range(15)] for name in clients}
        for n in range(15):
            for name, client in clients.items():
                client.send(said[name][n])
        for listener in clients.values():
            heard = [str(listener.recv(timeout=SECONDS)) for _ in range(45)]
            for name, texts in said.items():
                assert [text for text in heard if text.startswith(name)] == texts
            with pytest.raises(TimeoutError):
                listener.recv(timeout=0.2)


def test_messages_arrive_as_they_were_sent(single: Cluster) -> None:
    with join(single.port) as client:
        for text in ("", "same", "same", "é" * 2048, '{"a": "\\u0000"}', "\r\n'%s\\"):
            client.send(text)
            assert client.recv(timeout=SECONDS) == text
        client.send(["in ", "three ", "parts"])
        assert client.recv(timeout=SECONDS) == "in three parts"


def test_the_handshake_says_who_gave_it_and_the_access_line_knows_it(served: Cluster) -> None:
    with join(served.port, headers={"X-Request-ID": "test-ws"}) as client:
        assert worker_of(client) in served.pids()
        assert client.response is not None
        assert client.response.headers["X-Request-ID"] == "test-ws"
        wait_until(lambda: served.lines(r"GET /ws 101 .* test-ws$"), what="the access line")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"binary", 1003),
        ("é" * 2049, 1009),
        (["a" * 4000, "b" * 200], 1009),
        ("half \0 of it", 1007),
    ],
)
def test_a_message_that_cannot_be_passed_on_closes(
    single: Cluster, sent: str | bytes | list[str], code: int
) -> None:
    with join(single.port) as other, join(single.port) as client:
        client.send(sent)
        assert close_code(client) == code
        other.send("still here")
        assert other.recv(timeout=SECONDS) == "still here"


def test_who_talks_too_fast_is_closed_and_what_was_in_time_is_passed_on(single: Cluster) -> None:
    with join(single.port) as other, join(single.port) as client:
        with contextlib.suppress(ConnectionClosed):  # it may hear of it while it still talks
            for n in range(100):
                client.send(f"{n}")
        assert close_code(client) == 1008
        first = [other.recv(timeout=SECONDS) for _ in range(20)]
        assert first == [str(n) for n in range(20)]


def test_a_request_that_is_no_handshake_is_answered_as_such(served: Cluster) -> None:
    plain = served.get("/ws")
    assert (plain.status, plain.json["error"]["code"]) == (426, "upgrade_required")
    assert plain.headers["Upgrade"] == "websocket"

    for wrong in ({"Sec-WebSocket-Key": "short"}, {"Sec-WebSocket-Version": "8"}):
        answer = served.get("/ws", headers=HANDSHAKE | wrong)
        assert (answer.status, answer.json["error"]["code"]) == (400, "bad_handshake")
        assert answer.headers["X-Worker-ID"] in served.pids()
    with_body = served.request("GET", "/ws", headers=HANDSHAKE, body={"a": 1})
    assert with_body.status == 400
    assert served.request("POST", "/ws").status == 405


def test_a_foreign_page_is_refused(tmp_path: Path, database_url: str) -> None:
    with serving(tmp_path, database_url, CORS_ORIGINS="https://app.example") as cluster:
        assert status_of(cluster.port, Origin="https://evil.example") == 403
        assert status_of(cluster.port, Origin="https://app.example") == 101
        assert status_of(cluster.port, Origin=f"http://127.0.0.1:{cluster.port}") == 101
        answer = cluster.get("/ws", headers=HANDSHAKE | {"Origin": "https://evil.example"})
        assert answer.json["error"]["code"] == "cross_origin"


def test_a_full_worker_takes_the_next_client_when_one_has_left(
    tmp_path: Path, database_url: str
) -> None:
    env = {"CLUSTER_WORKERS": "1", "REALTIME_MAX_CLIENTS": "2"}
    with (
        serving(tmp_path, database_url, **env) as cluster,
        join(cluster.port),
        join(cluster.port) as second,
    ):
        answer = cluster.get("/ws", headers=HANDSHAKE)
        assert (answer.status, answer.json["error"]["code"]) == (503, "too_many_clients")
        assert answer.headers["Retry-After"] == "1"
        second.close()
        wait_until(lambda: status_of(cluster.port) == 101, what="the place of who has left")


def test_idle_clients_cost_no_thread_and_are_no_long_requests(
    tmp_path: Path, database_url: str
) -> None:
    env = {"CLUSTER_WORKERS": "1", "THREADS": "4", "REQUEST_TIMEOUT": "2"}
    with serving(tmp_path, database_url, **env) as cluster, contextlib.ExitStack() as closing:
        clients = [closing.enter_context(join(cluster.port)) for _ in range(50)]
        before = cluster.pids()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: cluster.get("/health").status, range(100)))
        assert answers == [200] * 100
        wait_until(lambda: cluster.slot(1)["busy"] == 0, what="the answered threads to be free")
        # Longer than a request may take: the master would have replaced the worker by now.
        with pytest.raises(TimeoutError):
            clients[0].recv(timeout=4)
        clients[0].send("all there?")
        assert [client.recv(timeout=SECONDS) for client in clients] == ["all there?"] * 50
        assert cluster.pids() == before
        assert not cluster.lines("REQUEST_TIMEOUT|died|retire")


@pytest.mark.parametrize("kind", ["gthread", "adaptive", "sync"])
def test_who_comes_and_goes_leaves_nothing_behind(
    tmp_path: Path, database_url: str, kind: str
) -> None:
    env = {"CLUSTER_WORKERS": "1", "WORKER_CLASS": kind, "LOG_LEVEL": "debug"}
    env["THREADS"] = "1" if kind == "sync" else "4"
    with serving(tmp_path, database_url, **env) as cluster:
        worker = psutil.Process(cluster.pids()["worker-1"])
        with join(cluster.port) as client:  # from now on there is a thread, and its connections
            client.send("hello")
            assert client.recv(timeout=SECONDS) == "hello"
        with join(cluster.port) as client:
            before = 0

            def settled() -> bool:
                nonlocal before
                last, before = before, worker.num_fds()
                return last == before

            wait_until(settled, what="the number of descriptors to settle")
            for number in range(60):
                match number % 3:
                    case 0:
                        assert status_of(cluster.port) == 101
                    case 1:
                        raw(cluster.port).close()  # no close frame
                    case _:
                        vanish(raw(cluster.port))
            # One kept-alive connection more is Gunicorn's affair; fewer are no leak.
            wait_until(lambda: worker.num_fds() <= before + 1, what="all to be forgotten")
            client.send("still served")
            assert client.recv(timeout=SECONDS) == "still served"
        assert cluster.get("/health").status == 200
        assert not cluster.lines(r"ERROR|Traceback|WARNING")


def vanish(connection: socket.socket) -> None:
    """Ends it with RST, as a machine that was restarted does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_who_does_not_read_is_dropped_and_the_others_go_on(single: Cluster) -> None:
    worker = psutil.Process(single.pids()["worker-1"])
    with contextlib.ExitStack() as closing:
        # So that little fits between the two.
        deaf = socket.socket()
        closing.callback(deaf.close)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(SECONDS)
        deaf.connect(("127.0.0.1", single.port))
        lines = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
        deaf.sendall(f"GET /ws HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode())
        assert deaf.recv(12) == b"HTTP/1.1 101"
        place = deaf.getsockname()

        def dropped() -> bool:
            return not any(
                c.raddr == place for c in worker.net_connections("tcp") if c.status == "ESTABLISHED"
            )

        speakers = [closing.enter_context(join(single.port)) for _ in range(60)]
        rounds = 0
        while not dropped():
            rounds += 1
            assert rounds < 20, "it was never dropped"
            for speaker in speakers:
                speaker.send("x" * 4096)
            for speaker in speakers:
                for _ in speakers:
                    speaker.recv(timeout=SECONDS)
        speakers[0].send("go on")
        assert [speaker.recv(timeout=SECONDS) for speaker in speakers] == ["go on"] * 60


def test_a_worker_class_whose_connections_cannot_be_taken_over_says_so(
    tmp_path: Path, database_url: str
) -> None:
    with serving(tmp_path, database_url, WORKER_CLASS="gevent", THREADS="1") as cluster:
        answer = cluster.get("/ws", headers=HANDSHAKE)
        assert (answer.status, answer.json["error"]["code"]) == (501, "not_supported")
