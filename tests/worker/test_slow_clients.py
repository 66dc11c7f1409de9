"""A thousand clients that are slow to ask, or that read nothing, stop nobody else."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.wait import wait_until

APP = """
LARGE = bytes(16 << 20)  # more than the kernel takes off a server

def app(environ, start_response):
    environ["wsgi.input"].read()
    body = LARGE if environ["PATH_INFO"] == "/large" else b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
SLOW = 1000  # as many as worker_connections allows by default
THREADS = 4
FILES = 4096  # the test's ends of the connections, or the worker's, and some more
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = REQUEST[:20]


@contextmanager
def serving(directory: Path, *arguments: str) -> Iterator[Cluster]:
    """One worker of four threads."""
    (directory / "slowly.py").write_text(APP)
    with Cluster(
        directory / "cluster",
        *("--chdir", str(directory), *arguments, "slowly:app"),
        env={"WORKER_CLASS": "adaptive", "CLUSTER_WORKERS": "1", "THREADS": str(THREADS)},
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With the default limits, and files enough for both ends of a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with serving(tmp_path_factory.mktemp("slow")) as cluster:
        yield cluster
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(stack: ExitStack, cluster: Cluster, data: bytes = b"") -> socket.socket:
    """A raw connection that has sent this."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", cluster.port), 60))
    if data:
        sock.sendall(data)
    return sock


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HALF, id="half a head"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", id="half a body"),
    ],
)
def test_a_thousand_that_have_sent_half_a_request_leave_others_served(
    cluster: Cluster, stack: ExitStack, half: bytes
) -> None:
    for _ in range(SLOW):
        connected(stack, cluster, half)
    assert [cluster.get("/").status for _ in range(50)] == [200] * 50


def test_who_has_just_come_makes_no_room_while_others_have_long_been_asking(
    tmp_path: Path, stack: ExitStack
) -> None:
    cluster = stack.enter_context(serving(tmp_path, "--worker-connections", "20"))
    for _ in range(18):
        connected(stack, cluster, HALF)
    assert cluster.get("/").status == 200  # what they have sent has been read
    just_come = connected(stack, cluster)
    for _ in range(5):
        connected(stack, cluster, HALF)
    just_come.sendall(REQUEST)
    assert just_come.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_clients_that_read_nothing_keep_no_threads_but_their_own(
    cluster: Cluster, stack: ExitStack
) -> None:
    for _ in range(THREADS - 1):
        sock = stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it is connected
        sock.connect(("127.0.0.1", cluster.port))
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: cluster.slot(1)["busy"] == THREADS - 1, what="the threads to be stuck")
    assert [cluster.get("/").status for _ in range(50)] == [200] * 50
    assert cluster.slot(1)["busy"] == THREADS - 1
