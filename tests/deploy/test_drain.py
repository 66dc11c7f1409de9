"""The notice that a worker's application gets when the worker begins to leave."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster.drain import DrainNotice
from tests.cluster import Cluster
from tests.wait import wait_until


@pytest.fixture
def notice() -> DrainNotice:
    return DrainNotice()


@pytest.fixture
def end(notice: DrainNotice) -> Iterator[int]:
    fd = notice.open()
    yield fd
    notice.give()
    os.close(fd)


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_the_end_becomes_readable_when_notice_is_given(notice: DrainNotice, end: int) -> None:
    assert not readable(end)
    notice.give()
    assert readable(end)


def test_notice_is_given_once(notice: DrainNotice, end: int) -> None:
    for _ in range(3):
        notice.give()
    assert os.read(end, 10) == b"\n"
    assert os.read(end, 10) == b""


def test_notice_is_never_an_error(notice: DrainNotice) -> None:
    notice.give()  # nobody has opened it
    os.close(notice.open())
    notice.give()  # nobody reads it


def test_notice_reaches_through_a_forked_child_that_holds_the_other_end(
    notice: DrainNotice, end: int
) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    notice.give()
    assert readable(end)
    os.close(write_end)
    os.waitpid(child, 0)


def test_notice_comes_before_what_it_announces(notice: DrainNotice, end: int) -> None:
    seen: list[bool] = []

    def leave(number: int) -> int:
        seen.append(readable(end))
        return number

    assert notice.before(leave)(15) == 15
    assert seen == [True]


def test_no_program_that_the_worker_starts_inherits_the_end(end: int) -> None:
    assert not os.get_inheritable(end)


APP = """
import atexit, os, select, threading

def watch():
    select.select([int(os.environ["WORKER_DRAIN_FD"])], [], [])
    # In one piece: other processes write to the same log.
    os.write(1, f"noticed by {os.environ['WORKER_ID']}\\n".encode())

watching = threading.Thread(target=watch, daemon=True)
watching.start()
atexit.register(watching.join, 10)  # an idle worker is gone before the thread's turn

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""


@pytest.mark.parametrize("kind", ["gthread", "adaptive", "sync", "gevent"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_an_application_of_any_kind_hears_of_its_workers_end(
    tmp_path: Path, kind: str, number: int
) -> None:
    (tmp_path / "watching.py").write_text(APP)
    # The variable is the worker's: what a file says of it is nobody's descriptor.
    (tmp_path / "app.env").write_text("WORKER_DRAIN_FD=0\n")
    env = {
        "WORKER_CLASS": kind,
        "THREADS": "4" if kind in ("gthread", "adaptive") else "1",
        "CLUSTER_WORKERS": "2",
        "CLUSTER_PRELOAD": "fresh",  # its thread begins with its import
        "ENV_FILE": str(tmp_path / "app.env"),
    }
    directory = tmp_path / "cluster"
    with Cluster(directory, "--chdir", str(tmp_path), "watching:app", env=env) as cluster:
        assert "noticed by worker-" not in cluster.log
        os.kill(cluster.pids()["worker-2"], number)
        cluster.wait_log("noticed by worker-2")
        wait_until(lambda: len(cluster.pids()) == 2, what="the worker's replacement")
        assert "noticed by worker-1" not in cluster.log
