"""Who is let in at /ws, and what its limits say: without a server, on one end of a socket pair."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.config import Config, ConfigError
from app.realtime import Hub, notice, takeover
from app.realtime.bucket import Bucket
from app.realtime.handshake import Refused, accept
from tests.app.conftest import SECRET, AppFactory

HANDSHAKE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455, section 1.3
    "Sec-WebSocket-Version": "13",
}
SECONDS = 20.0


def environ(**changes: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/ws",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HANDSHAKE.items()},
    }
    made |= changes
    return {name: value for name, value in made.items() if value is not None}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's socket, and the client's."""
    server, client = socket.socketpair()
    client.settimeout(SECONDS)
    with server, client:
        yield server, client


def ask(app: Flask, server: object) -> TestResponse:
    return app.test_client().get(
        "/ws", headers=HANDSHAKE, environ_overrides={"gunicorn.socket": server}
    )


def hub_of(app: Flask) -> Hub:
    hub = app.extensions["realtime"]
    assert isinstance(hub, Hub)
    return hub


def test_the_answer_proves_that_the_handshake_was_read() -> None:
    answer = accept(environ())
    assert answer.status_code == 101
    assert answer.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert "Sec-WebSocket-Extensions" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"HTTP_UPGRADE": None}, 426),
        ({"HTTP_UPGRADE": "h2c"}, 426),
        ({"HTTP_CONNECTION": "close"}, 426),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "AAAA"}, 400),
        ({"HTTP_SEC_WEBSOCKET_KEY": "\xff" * 24}, 400),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, 400),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 400),
        ({"HTTP_UPGRADE": "web socket"}, 400),
        ({"CONTENT_LENGTH": "3"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 505),
        ({"REQUEST_METHOD": "HEAD"}, 405),
    ],
)
def test_what_is_no_handshake_is_refused(changes: dict[str, str | None], status: int) -> None:
    with pytest.raises(Refused) as refused:
        accept(environ(**changes))
    assert refused.value.status == status
    assert "\n" not in str(refused.value)


def test_a_bucket_allows_a_burst_then_a_rate() -> None:
    bucket = Bucket(rate=10, burst=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.09)
    assert bucket.take(100.11)
    assert not bucket.take(100.12)
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_survives_a_clock_that_stands_still_or_goes_back() -> None:
    bucket = Bucket(rate=10, burst=1, now=100.0)
    assert bucket.take(100.0)
    assert not bucket.take(99.0)
    assert bucket.take(99.2)


def test_only_a_plain_socket_can_be_taken_over(pair: tuple[socket.socket, socket.socket]) -> None:
    class Own(socket.socket):
        pass

    context = ssl.create_default_context()
    with Own() as own, context.wrap_socket(socket.socket(), server_hostname="h") as encrypted:
        assert [takeover.possible(s) for s in (pair[0], own, encrypted, None)] == [
            *(True, False, False, False)
        ]


def test_after_a_takeover_the_server_meets_the_end_and_the_client_hears_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server, client = pair
    number = server.fileno()
    taken, stand_in = takeover.take(server)
    with taken:
        assert server.fileno() == number
        assert not os.get_inheritable(number)
        server.sendall(b"HTTP/1.1 101 Gunicorn's\r\n\r\n")
        assert server.recv(1) == b""
        stand_in.finish()
        assert server.recv(1) == b""
        server.close()
        taken.sendall(b"ours")
        assert client.recv(100) == b"ours"
        client.sendall(b"theirs")
        assert taken.recv(100) == b"theirs"


def test_a_failed_takeover_leaves_the_connection_to_the_server(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = pair

    def full(fd: int) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", full)
        with pytest.raises(OSError, match="Too many open files"):
            takeover.take(server)
    server.sendall(b"sorry")
    assert client.recv(100) == b"sorry"


@pytest.mark.parametrize("value", [None, "", "x", "-1", "99999", "9" * 30])
def test_a_variable_that_names_no_pipe_is_no_notice(value: str | None) -> None:
    assert notice.descriptor({} if value is None else {notice.VARIABLE: value}) is None


def test_a_number_that_means_something_else_here_is_no_notice() -> None:
    with socket.socket() as other:
        assert notice.descriptor({notice.VARIABLE: str(other.fileno())}) is None


def test_a_server_without_gunicorns_socket_does_not_speak_websocket(app: Flask) -> None:
    answer = ask(app, None)
    assert (answer.status_code, answer.json["error"]["code"]) == (501, "not_supported")  # type: ignore[index]


def test_a_worker_that_has_been_told_to_leave_takes_nobody(
    app: Flask, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv(notice.VARIABLE, str(read_end))
    os.close(write_end)
    try:
        answer = ask(app, pair[0])
        assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")  # type: ignore[index]
        assert answer.headers["Retry-After"] == "1"
    finally:
        hub_of(app).close()
        os.close(read_end)
    assert ask(app, pair[0]).status_code == 503  # also when its thread is gone


@pytest.mark.parametrize("url", [None, "host=127.0.0.1 port=1 dbname=x"])
def test_without_postgres_nobody_is_let_in(
    make_app: AppFactory, pair: tuple[socket.socket, socket.socket], url: str | None
) -> None:
    app = make_app(url)
    for _ in range(3):
        answer = ask(app, pair[0])
        assert answer.status_code == 503
        assert answer.json["error"]["code"] == "database_unavailable"  # type: ignore[index]
    hub_of(app).close()


def test_the_handshake_is_answered_when_the_worker_hears_all_messages(
    app: Flask, pair: tuple[socket.socket, socket.socket], sql: Any
) -> None:
    server, client = pair
    try:
        answer = ask(app, server)
        assert answer.status_code == 101
        answer.close()  # as a server does
        got = b""
        while b"\r\n\r\n" not in got:
            got += client.recv(1)
        assert got.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert f"X-Request-ID: {answer.headers['X-Request-ID']}\r\n".encode() in got
        sql("SELECT pg_notify('smart_factory_realtime', 'from anywhere')")
        assert client.recv(2) == bytes([0x81, 13])
        assert client.recv(13) == b"from anywhere"
    finally:
        hub_of(app).close()
    closed = client.recv(4)
    assert (closed[0], int.from_bytes(closed[2:])) == (0x88, 1012)


@pytest.mark.parametrize("value", ["0", "-1", "100001", "many"])
def test_a_wrong_limit_of_clients_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="expected an integer from 1 to 100000"):
        Config.read({"SECRET_KEY": SECRET, "REALTIME_MAX_CLIENTS": value})


def test_the_limit_of_clients_has_a_default() -> None:
    assert Config.read({"SECRET_KEY": SECRET}).realtime_max_clients == 1000
