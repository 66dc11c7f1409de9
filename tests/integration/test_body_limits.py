"""A body without an end in sight, on a real server: 413, and no byte of it taken for a request."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster

KIB = 1024
MIB = 1024 * KIB
NEXT = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What a body holds, should it be read as a request, would be logged as one.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("served")
    env = {"CLUSTER_WORKERS": "1", "LOG_LEVEL": "debug"}
    with Cluster(directory, "--chdir", str(Path.cwd()), env=env) as cluster:
        yield cluster


def send(cluster: Cluster, path: str, body: Iterator[bytes], *, length: int | None) -> list[int]:
    """The statuses of a request with such a body, and of one after it on the same connection."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}"
    statuses: list[int] = []
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):  # it may have heard enough
            connection.sendall(f"{head}\r\n\r\n".encode())
            for piece in body:
                connection.sendall(
                    b"%x\r\n%s\r\n" % (len(piece), piece) if length is None else piece
                )
            if length is None:
                connection.sendall(b"0\r\n\r\n")
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            while len(statuses) < 2:
                if statuses:  # not sooner: what is read along with a body may lie there
                    connection.sendall(NEXT)
                response = http.client.HTTPResponse(connection)
                response.begin()
                statuses.append(response.status)
                text = response.read()
                assert response.status != 413 or b"larger than" in text
    return statuses


def pieces(size: int) -> Iterator[bytes]:
    whole = SMUGGLED * (16 * KIB // len(SMUGGLED))
    for _ in range(-(-size // len(whole))):
        yield whole


@pytest.mark.parametrize(("path", "limit"), [("/api/auth/login", 16 * KIB), ("/api/issue", MIB)])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_refused_and_the_connection_stays_sane(
    served: Cluster, path: str, limit: int, chunked: bool
) -> None:
    for over in (20 * KIB, 4 * MIB):  # what Gunicorn reads to its end, and what it does not
        size = sum(len(piece) for piece in pieces(limit + over))
        statuses = send(served, path, pieces(size), length=None if chunked else size)
        # The next request is answered, or the connection was closed after the refusal.
        assert statuses in ([413, 200], [413])
    assert served.get("/health/live").status == 200
    assert "/smuggled" not in served.log


@pytest.mark.parametrize(("path", "limit"), [("/api/auth/login", 16 * KIB), ("/api/issue", MIB)])
def test_a_chunked_body_may_have_the_whole_limit_and_not_a_byte_more(
    served: Cluster, path: str, limit: int
) -> None:
    body = b"{}" + b" " * (limit - 2)
    assert send(served, path, iter([body]), length=None) == [422, 200]
    # not a body of two letters, cut off before what does not belong to it
    assert send(served, path, iter([body, b" "]), length=None) == [413, 200]
    assert send(served, path, iter([body, b"}"]), length=None) == [413, 200]


def test_a_body_within_the_limit_may_be_chunked(served: Cluster) -> None:
    body = iter([b'{"email": "ada@example.com", ', b'"password": 1}'])
    assert send(served, "/api/auth/login", body, length=None) == [422, 200]


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\n{",  # and no more
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"2;\x00\r\n{}\r\n0\r\n\r\n",
        b"1\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
    ],
)
def test_chunks_that_are_none_are_the_clients_fault(served: Cluster, body: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(
            b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        )
        connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 400
        assert b"invalid_json" in response.read()
    assert "Traceback" not in served.log
