from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from deploy.cluster import listen
from deploy.cluster.listen import AddressTakenError, Holder


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def wait(server: socket.socket, said: list[str]) -> None:
    listen.wait_until_free([server.getsockname()], on_wait=said.append)


def test_a_free_address_and_one_that_is_no_port_are_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    listen.wait_until_free([address, "/run/app.sock"], on_wait=pytest.fail)


def test_a_holder_that_stays_is_named(taken: socket.socket) -> None:
    with pytest.raises(AddressTakenError, match=rf"is taken by pid {os.getpid()} \(.+\)"):
        wait(taken, [])


@pytest.mark.parametrize("last_seen", [None, Holder(4711, "")], ids=["gone", "ending"])
def test_a_holder_that_ends_between_two_looks_is_in_nobodys_way(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch, last_seen: Holder | None
) -> None:
    """The moment cannot be met at will: the look-up itself ends the holder, or sees it dying."""
    looks = iter([Holder(4711, "gunicorn: worker-3 gen 1"), last_seen])

    def ends(_: int) -> Holder | None:
        seen = next(looks)
        if seen is last_seen:
            taken.close()
        return seen

    monkeypatch.setattr(listen, "_holder", ends)
    said: list[str] = []
    wait(taken, said)
    (line,) = said
    assert line.endswith("which has lost its master: waiting for it to end")


def test_a_holder_that_nobody_may_see_is_refused_all_the_same(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "_holder", lambda _: None)  # as for another user's process
    with pytest.raises(AddressTakenError, match="is taken by another process: stop it, or set"):
        wait(taken, [])
