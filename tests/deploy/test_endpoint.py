"""Where the service is reached, and what comes back from there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.ops.endpoint import Endpoint, Headers


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("127.0.0.1:3000", ("127.0.0.1", 3000)),
        ("0.0.0.0:3000", ("127.0.0.1", 3000)),
        ("[::]:3000", ("::1", 3000)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:80", ("localhost", 80)),
        ("127.0.0.1:3000, unix:/run/x.sock", ("127.0.0.1", 3000)),
        ("unix:/run/x.sock, 127.0.0.1:3000", "/run/x.sock"),
    ],
)
def test_the_first_address_of_the_board_is_asked(said: str, address: object) -> None:
    assert Endpoint.of(said).address == address


@pytest.mark.parametrize("said", ["", "localhost", "127.0.0.1:", "/run/x.sock"])
def test_what_is_no_address_is_named(said: str) -> None:
    with pytest.raises(ValueError, match="expected host:port or unix:path"):
        Endpoint.of(said)


def test_an_endpoint_reads_as_it_is_written() -> None:
    for said in ("127.0.0.1:3000", "[::1]:3000", "unix:/run/x.sock"):
        assert str(Endpoint.of(said)) == said


def test_headers_are_found_in_any_case_and_one_by_one() -> None:
    headers = Headers([("Set-Cookie", "a=1"), ("X-Worker-ID", "worker-1"), ("set-cookie", "b=2")])
    assert headers["x-worker-id"] == headers.get("X-WORKER-ID") == "worker-1"
    assert headers["Set-Cookie"] == "a=1"
    assert headers.every("SET-COOKIE") == ["a=1", "b=2"]
    assert headers.get("Location") is None
    assert (len(headers), list(headers)) == (2, ["set-cookie", "x-worker-id"])


@contextlib.contextmanager
def answering(listener: socket.socket, answer: bytes) -> Iterator[list[bytes]]:
    """Answers one connection so, and keeps what it was sent."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(answer)

    with listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


ANSWER = b'HTTP/1.1 201 Created\r\nX-Worker-ID: worker-2\r\nContent-Length: 7\r\n\r\n{"a":1}'


def test_a_request_over_tcp() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    endpoint = Endpoint(listener.getsockname())
    with answering(listener, ANSWER) as asked:
        answer = endpoint.ask("PATCH", "/x", json={"b": 2}, headers={"Cookie": "c=3"})
    assert (answer.status, answer.worker, answer.json) == (201, "worker-2", {"a": 1})
    assert answer.seconds > 0
    for sent in (b"PATCH /x HTTP/1.1\r\n", b"Cookie: c=3\r\n", b"Connection: close", b"/json"):
        assert sent in asked[0]


def test_a_request_over_a_unix_socket(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with answering(listener, ANSWER):
        assert Endpoint.of(f"unix:{tmp_path}/s").ask("GET", "/").status == 201


@pytest.mark.parametrize("nonsense", [b"", b"nonsense\r\n\r\n", ANSWER[:-3]])
def test_what_is_no_answer_is_an_os_error(nonsense: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    endpoint = Endpoint(listener.getsockname())
    with answering(listener, nonsense), pytest.raises(OSError, match=r"."):
        endpoint.ask("GET", "/")


def test_nobody_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Endpoint.of(f"unix:{tmp_path}/s").ask("GET", "/")


def test_a_body_that_is_not_json_is_none() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    endpoint = Endpoint(listener.getsockname())
    with answering(listener, ANSWER.replace(b'{"a":1}', b"well wl")):
        assert endpoint.ask("GET", "/").json is None
