"""The thread with the clients: what a fork and the limit of open files do to it."""

from __future__ import annotations

import resource

import pytest

from app.realtime import Full, Hub
from tests.app.conftest import run_forking


def test_a_fork_leaves_thread_and_clients_to_the_parent(database_url: str) -> None:
    # In a process of its own, as forks of one with threads are.
    code = """
        import os, socket, sys, threading
        from app.realtime import Hub
        from app.realtime.handshake import accept
        from tests.app.test_realtime import environ

        hub = Hub(url=sys.argv[1], max_clients=9)

        def hears(text):
            ours, theirs = socket.socketpair()
            theirs.settimeout(20)
            hub.reserve()
            hub.welcome(ours, accept(environ()))
            got = b""
            while not got.endswith(b"\\r\\n\\r\\n"):
                got += theirs.recv(1)
            theirs.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            assert theirs.recv(100) == bytes([0x81, len(text)]) + text
            return theirs

        first = hears(b"parent")
        for _ in range(3):
            child = os.fork()
            if child == 0:
                assert threading.active_count() == 1
                kept = hears(b"child")
                hub.close()
                assert kept.recv(100)[:1] == bytes([0x88])
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert first.recv(100) == bytes([0x81, 5]) + b"child"
        hears(b"again")
        assert first.recv(100) == bytes([0x81, 5]) + b"again"
        print("ok")
    """
    run_forking(code, database_url)


def test_a_low_limit_of_open_files_leaves_fewer_places(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (130, 130))
    hub = Hub(url=database_url, max_clients=1000)
    try:
        hub.reserve()
        hub.reserve()
        with pytest.raises(Full):
            hub.reserve()
        hub.give_back()
        hub.reserve()
    finally:
        hub.close()
    assert "the limit of 130 open files has room for 2" in caplog.text
