from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gunicorn import sock
from gunicorn.config import Config

from deploy.cluster import backlog


def listening_at(address: Any) -> Any:
    """A listener as Gunicorn's workers have it."""
    return sock._sock_type(address)(address, Config(), logging.getLogger(__name__))  # noqa: SLF001


@dataclass
class Limit:
    graceful_timeout: float = 10.0


@dataclass
class Worker:
    """As gthread's: it takes one connection at a time, and answers it later."""

    sockets: list[Any]
    cfg: Limit = field(default_factory=Limit)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger(__name__))
    accepted: list[socket.socket] = field(default_factory=list)
    on_accept: Callable[[Any], None] = lambda _: None

    def accept(self, listener: Any) -> None:
        self.on_accept(listener)
        connection, _ = listener.accept()
        self.accepted.append(connection)


class Clients:
    """Connections of a test, closed at its end."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()

    def connect(self, address: Any) -> socket.socket:
        kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        client = self.stack.enter_context(socket.socket(kind))
        client.settimeout(10)
        client.connect(address)
        return client


@pytest.fixture
def clients() -> Iterator[Clients]:
    opened = Clients()
    with opened.stack:
        yield opened


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    address = ("127.0.0.1", 0) if request.param == "tcp" else str(tmp_path / "a.sock")
    opened = listening_at(address)
    yield opened
    opened.close()


def serve(worker: Worker, clients: Clients) -> None:
    backlog.serve(worker)
    for connection in worker.accepted:
        clients.stack.enter_context(connection).sendall(b"answered")


@pytest.mark.parametrize("waiting", [0, 1, 40])
def test_whoever_waits_is_served_and_nobody_is_listened_to_any_more(
    clients: Clients, listener: Any, waiting: int
) -> None:
    address = listener.getsockname()
    worker = Worker([listener])
    queue = [clients.connect(address) for _ in range(waiting)]
    serve(worker, clients)
    assert len(worker.accepted) == waiting
    assert [client.recv(100) for client in queue] == [b"answered"] * waiting
    assert listener.sock is None


def test_a_client_that_comes_later_is_refused_and_not_reset(
    clients: Clients, listener: Any
) -> None:
    address = listener.getsockname()
    serve(Worker([listener]), clients)
    with pytest.raises(ConnectionRefusedError):
        clients.connect(address)


def test_whoever_comes_meanwhile_is_served_too(clients: Clients, listener: Any) -> None:
    address = listener.getsockname()
    late: list[socket.socket] = []

    def knock(_: Any) -> None:
        if len(late) < 5:
            late.append(clients.connect(address))

    first = clients.connect(address)
    worker = Worker([listener], on_accept=knock)
    serve(worker, clients)
    assert [client.recv(100) for client in (first, *late)] == [b"answered"] * 6


def test_clients_that_keep_coming_do_not_keep_the_worker(clients: Clients) -> None:
    listener = listening_at(("127.0.0.1", 0))
    address = listener.getsockname()

    def knock(_: Any) -> None:
        clients.connect(address)

    worker = Worker([listener], on_accept=knock)
    clients.connect(address)
    backlog.serve(worker)
    assert 1 < len(worker.accepted) < 200
    for connection in worker.accepted:
        connection.close()


def test_time_ends_it_as_well(clients: Clients, listener: Any) -> None:
    clients.connect(listener.getsockname())
    worker = Worker([listener], cfg=Limit(graceful_timeout=0))
    backlog.serve(worker)
    assert worker.accepted == []
    assert listener.sock is None


def test_every_listener_has_its_turn(clients: Clients, tmp_path: Path) -> None:
    opened = [listening_at(("127.0.0.1", 0)) for _ in range(2)]
    opened.append(listening_at(str(tmp_path / "a.sock")))
    queue = [clients.connect(each.getsockname()) for each in opened for _ in range(3)]
    worker = Worker(opened)
    serve(worker, clients)
    assert [client.recv(100) for client in queue] == [b"answered"] * 9
    assert all(each.sock is None for each in opened)


def test_nobody_gets_into_a_queue_that_is_not_looked_at_again(clients: Clients) -> None:
    first, second = (listening_at(("127.0.0.1", 0)) for _ in range(2))
    address, outcome = first.getsockname(), list[str]()
    clients.connect(second.getsockname())

    def knock(at: Any) -> None:
        if at is second:
            try:
                late.append(clients.connect(address))
            except ConnectionRefusedError:
                outcome.append("refused")

    late: list[socket.socket] = []
    serve(Worker([first, second], on_accept=knock), clients)
    for client in late:
        with contextlib.suppress(ConnectionResetError):
            client.recv(100)
        outcome.append("reset")
    assert outcome == ["refused"]


def test_the_file_of_a_unix_socket_is_the_masters_to_remove(
    clients: Clients, tmp_path: Path
) -> None:
    listener = listening_at(str(tmp_path / "a.sock"))
    serve(Worker([listener]), clients)
    assert (tmp_path / "a.sock").exists()


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EMFILE])
def test_a_connection_that_is_lost_costs_no_other(
    clients: Clients, listener: Any, number: int
) -> None:
    queue = [clients.connect(listener.getsockname()) for _ in range(3)]
    errors = [OSError(number, "lost")]

    def fail_once(_: Any) -> None:
        if errors:
            raise errors.pop()

    serve(Worker([listener], on_accept=fail_once), clients)
    assert [client.recv(100) for client in queue] == [b"answered"] * 3


def test_another_worker_that_was_faster_is_no_error(
    clients: Clients, listener: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clients.connect(listener.getsockname())

    def be_late(_: Any) -> None:
        with listener.accept()[0]:
            pass

    worker = Worker([listener], on_accept=be_late)
    backlog.serve(worker)
    assert worker.accepted == []
    assert caplog.records == []


def test_who_shares_the_listener_still_listens(clients: Clients, listener: Any) -> None:
    address = listener.getsockname()
    with listener.dup() as shared:
        backlog.close(Worker([listener]))
        assert listener.sock is None
        client = clients.connect(address)
        connection, _ = shared.accept()
        with connection:
            connection.sendall(b"answered")
        assert client.recv(100) == b"answered"
