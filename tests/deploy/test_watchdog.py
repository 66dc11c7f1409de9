from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.cluster.watchdog import Rhythm, Turn, Watchdog, next_turn
from deploy.cluster.watchdog_request import WatchdogRequest, reachable
from tests.wait import wait_until

RHYTHM = Rhythm(interval=5.0, limit=10.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("seconds", "interval", "limit"),
    [(30, 5, 10), (60, 10, 20), (3, 1, 1), (1, 0.5, 1 / 3)],
)
def test_the_rhythm_leaves_room_for_failures(seconds: int, interval: float, limit: float) -> None:
    rhythm = Rhythm.within(seconds * 1_000_000)
    assert (rhythm.interval, rhythm.limit) == pytest.approx((interval, limit))


@pytest.mark.parametrize(
    ("now", "last", "unanswered", "turn"),
    [
        (0.0, float("-inf"), [], Turn(begin=True, overdue=0, seconds=5.0)),
        (4.0, 0.0, [], Turn(begin=False, overdue=0, seconds=1.0)),
        (4.0, 0.0, [0.0], Turn(begin=False, overdue=0, seconds=1.0)),
        (5.0, 0.0, [0.0], Turn(begin=True, overdue=0, seconds=5.0)),
        (8.0, 5.0, [0.0, 5.0], Turn(begin=False, overdue=0, seconds=2.0)),
        (10.0, 5.0, [0.0, 5.0], Turn(begin=True, overdue=1, seconds=5.0)),
        # The loop was held up: what is overdue goes before the next one comes.
        (40.0, 5.0, [0.0, 2.0, 5.0], Turn(begin=True, overdue=3, seconds=5.0)),
        # No more than three at a time.
        (9.0, 3.0, [1.0, 2.0, 3.0], Turn(begin=False, overdue=0, seconds=2.0)),
    ],
)
def test_what_is_due(now: float, last: float, unanswered: list[float], turn: Turn) -> None:
    assert next_turn(RHYTHM, now, last=last, unanswered=unanswered) == turn


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (("0.0.0.0", 80), ("127.0.0.1", 80)),  # noqa: S104
        (("10.0.0.1", 80), ("10.0.0.1", 80)),
        (("::", 80, 0, 0), ("::1", 80, 0, 0)),
        ("/run/app.sock", "/run/app.sock"),
        (b"\0app", b"\0app"),
    ],
)
def test_a_listener_is_reached_where_it_listens(address: Any, where: Any) -> None:
    assert reachable(address) == where


class Server:
    """A listening socket whose `behave` does what a worker does, a thread for each connection."""

    def __init__(self, listener: socket.socket, behave: Callable[[socket.socket], None]):
        self.address = listener.getsockname()
        self.heard: list[bytes] = []
        self._listener = listener
        self._behave = behave
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._behave(client)

    def hear(self, client: socket.socket) -> None:
        """Reads the request."""
        self.heard.append(client.recv(4096))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def serving(
    behave: Callable[[Server, socket.socket], None], listener: socket.socket | None = None
) -> Iterator[Server]:
    server: Server
    listener = listener or socket.create_server(("127.0.0.1", 0))
    server = Server(listener, lambda client: behave(server, client))
    try:
        yield server
    finally:
        server.close()


def says(answer: bytes) -> Callable[[Server, socket.socket], None]:
    def behave(server: Server, client: socket.socket) -> None:
        server.hear(client)
        client.sendall(answer)

    return behave


def outcome(address: Any, tls: ssl.SSLContext | None = None) -> WatchdogRequest:
    request = WatchdogRequest(address, "/health/live", began=0.0, tls=tls)

    def over() -> bool:
        request.step()
        return request.over

    wait_until(over, what="the end of the request")
    return request


@pytest.mark.parametrize(
    ("answer", "passed", "failure"),
    [
        (OK, True, ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", True, ""),
        (b"HTTP/1.0 302 Found\r\n\r\n", True, ""),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", False, "GET /health/live answered 500"),
        (b"HTTP/1.1 503 Away\r\n\r\n", False, "GET /health/live answered 503"),
        (b"SSH-2.0-server\r\n", False, "no HTTP answer"),
        (b"x" * 40_000, False, "no HTTP answer"),
        (b"HTTP/1.1 200", False, "the connection was closed without an answer"),
        (b"", False, "the connection was closed without an answer"),
    ],
)
def test_an_answer_below_500_passes(answer: bytes, passed: bool, failure: str) -> None:
    with serving(says(answer)) as server:
        request = outcome(server.address)
    assert (request.passed, request.failure) == (passed, failure)
    (heard,) = server.heard
    assert heard.startswith(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nConnection: close\r\nUser-Agent: smart-factory-watchdog\r\n\r\n" in heard


def test_a_unix_socket_is_asked_by_its_path(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "app.sock"))
    listener.listen()
    with serving(says(OK), listener) as server:
        assert outcome(server.address).passed
    assert b"\r\nHost: localhost\r\n" in server.heard[0]


def test_nobody_who_listens_is_a_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    assert outcome(address).failure == "Connection refused"
    assert outcome(str(tmp_path / "none.sock")).failure == "No such file or directory"


def in_tls(context: ssl.SSLContext) -> Callable[[Server, socket.socket], None]:
    def behave(server: Server, client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as wrapped:
            server.hear(wrapped)
            wrapped.sendall(OK)

    return behave


@pytest.fixture(scope="module")
def server_context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's side, with a certificate that nobody trusts."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "1", "-subj", "/CN=a"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_tls_is_spoken_with_any_certificate(server_context: ssl.SSLContext) -> None:
    with serving(in_tls(server_context)) as server:
        assert outcome(server.address, client_context()).passed
    assert server.heard[0].startswith(b"GET /health/live ")


def test_to_be_refused_for_want_of_a_certificate_is_a_sign_of_life(
    server_context: ssl.SSLContext,
) -> None:
    server_context.verify_mode = ssl.CERT_REQUIRED
    try:
        with serving(in_tls(server_context)) as server:
            assert outcome(server.address, client_context()).passed
    finally:
        server_context.verify_mode = ssl.CERT_NONE


def test_a_reset_after_the_handshake_is_such_a_refusal_and_any_other_is_none(
    server_context: ssl.SSLContext,
) -> None:
    def reset(client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def in_tls_reset(_: Server, client: socket.socket) -> None:
        wrapped = server_context.wrap_socket(client, server_side=True)
        wrapped.recv(4096)
        reset(wrapped)

    def plain_reset(server: Server, client: socket.socket) -> None:
        server.hear(client)
        reset(client)

    with serving(in_tls_reset) as server:
        assert outcome(server.address, client_context()).passed
    with serving(plain_reset) as server:
        assert outcome(server.address).failure == "Connection reset by peer"


def test_an_error_of_the_services_is_one_in_tls_too(server_context: ssl.SSLContext) -> None:
    def behave(server: Server, client: socket.socket) -> None:
        with server_context.wrap_socket(client, server_side=True) as wrapped:
            server.hear(wrapped)
            wrapped.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")

    with serving(behave) as server:
        request = outcome(server.address, client_context())
    assert (request.passed, request.failure) == (False, "GET /health/live answered 500")


def test_a_server_that_hangs_in_tls_is_waited_for_no_longer_than_any(
    server_context: ssl.SSLContext,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        request = WatchdogRequest(silent.getsockname(), "/", began=0.0, tls=client_context())
        request.step()
        assert not request.over
        request.give_up("no answer within 10 s")
    assert (request.over, request.passed) == (True, False)


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def error(self, text: str, *facts: object, extra: dict[str, object]) -> None:
        self.said.append(text % facts)
        assert extra["event"] == "watchdog.failed"

    def info(self, text: str, *facts: object, extra: dict[str, object]) -> None:
        self.said.append(text % facts)
        assert extra["event"] == "watchdog.passed"


class Kennel:
    """A watchdog with a clock of the test's own."""

    def __init__(self, address: Any, path: str = "/health/live"):
        self.log = Log()
        self.fed = 0
        self.dog = Watchdog(30_000_000, feed=self._feed, log=self.log)
        self._address, self._path = address, path

    def _feed(self) -> None:
        self.fed += 1

    def at(self, now: float) -> None:
        self.dog.step(now, address=self._address, path=self._path, tls=False)

    def until_fed(self, now: float, times: int) -> None:
        def fed() -> bool:
            self.at(now)
            return self.fed == times

        wait_until(fed, what=f"food, {times} times")


def test_each_answer_feeds_and_nothing_else_does() -> None:
    with serving(says(OK)) as server:
        kennel = Kennel(server.address)
        for times, now in enumerate((0.0, 5.0, 10.0), 1):
            kennel.until_fed(now, times)
            kennel.at(now + 4.9)
            assert kennel.fed == times
        kennel.dog.close()
    assert kennel.log.said == []


def test_silence_is_logged_once_and_so_is_its_end() -> None:
    go_on = threading.Event()

    def behave(server: Server, client: socket.socket) -> None:
        server.hear(client)
        go_on.wait(30)
        client.sendall(OK)

    with serving(behave) as server:
        kennel = Kennel(server.address)
        for now in (0.0, 5.0, 9.9):
            kennel.at(now)
        assert kennel.log.said == []
        for now in (10.0, 15.0, 20.0, 25.0):
            kennel.at(now)
        assert kennel.log.said == ["[Master] The watchdog's request failed: no answer within 10 s"]
        assert len(kennel.dog.waiting) == 2
        assert kennel.fed == 0
        go_on.set()
        kennel.until_fed(26.0, 2)
        assert kennel.log.said[1:] == ["[Master] The watchdog's request passes again"]
        kennel.dog.close()
        assert kennel.dog.waiting == []


def test_a_request_that_one_worker_swallows_is_no_failure_while_another_answers() -> None:
    done = threading.Event()

    turns = itertools.count()

    def behave(server: Server, client: socket.socket) -> None:
        turn = next(turns)  # before it is heard, and the second one comes
        server.hear(client)
        if turn == 0:
            done.wait(30)
        else:
            client.sendall(OK)

    with serving(behave) as server:
        kennel = Kennel(server.address)
        kennel.at(0.0)
        wait_until(lambda: _stepped(kennel, server), what="the first request to be swallowed")
        kennel.until_fed(5.0, 1)
        kennel.at(10.0)
        assert kennel.log.said == []
        kennel.dog.close()
        done.set()


def _stepped(kennel: Kennel, server: Server) -> bool:
    kennel.at(0.1)
    return bool(server.heard)


@pytest.mark.parametrize(("address", "path"), [(None, "/"), (("127.0.0.1", 9), "")])
def test_without_a_listener_or_a_path_the_loop_feeds(address: Any, path: str) -> None:
    kennel = Kennel(address, path)
    for now in (0.0, 4.9, 5.0, 9.9):
        kennel.at(now)
    assert kennel.fed == 2


def test_without_a_watchdog_nothing_is_asked() -> None:
    dog = Watchdog(0, feed=lambda: pytest.fail("fed"), log=None)
    dog.step(0.0, address=("127.0.0.1", 9), path="/", tls=False)
    assert dog.waiting == []
    assert dog.seconds == float("inf")
