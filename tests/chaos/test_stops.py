"""Stops, and long requests across everything that ends a worker."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.state.process import start_ticks
from deploy.state.scoreboard import Scoreboard
from loadtests.drops import Load
from tests.chaos.stage import KINDS, PATIENCE, Kind, Stage, release
from tests.cluster import Cluster
from tests.wait import wait_until

TCP_THREADS = KINDS[0]
# Between the last look into a listener's queue and its end a connection may still come in: some
# 50 µs a stop, of which 200 requests/s meet one in a hundred. Without the look there are dozens.
LAST_MOMENT = 2


class Asked:
    """One request, answered in the background."""

    def __init__(self, stage: Stage, path: str):
        self._answer = b""
        self._socket = connect(stage)
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._answer = self._socket.recv(65536)
        except ConnectionError as error:
            self._answer = str(error).encode()
        finally:
            self._socket.close()

    def answer(self) -> str:
        """The status line, or what came in its place."""
        self._thread.join(100)
        return self._answer.split(b"\r\n")[0].decode()


def connect(stage: Stage) -> socket.socket:
    family, address = (
        (socket.AF_UNIX, str(stage.socket))
        if stage.socket
        else (socket.AF_INET, ("127.0.0.1", stage.cluster.port))
    )
    client = socket.socket(family)
    client.settimeout(100)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def busy(cluster: Cluster, number: int) -> None:
    """Waits until so many requests are in flight."""
    board = Scoreboard.open(cluster.runtime / "scoreboard")  # `status` may come too late to see it
    try:
        wait_until(
            lambda: sum(row.busy for row in board.rows()) >= number,
            what=f"{number} requests in flight",
        )
    finally:
        board.close()


def not_refused(load: Load) -> int:
    """Failures of those who were let in first."""
    return load.report.failed - load.report.failures.get("refused", 0)


def reload(cluster: Cluster) -> None:
    assert cluster.reload().returncode == 0


def scale_down(cluster: Cluster) -> None:
    assert cluster.command("scale", "1").returncode == 0


def stop(cluster: Cluster) -> None:
    assert cluster.stop() == 0


@pytest.mark.parametrize("end", [reload, scale_down, stop])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_request_of_nine_seconds_is_answered_across(
    tmp_path: Path, kind: Kind, end: Callable[[Cluster], None]
) -> None:
    stage = Stage(tmp_path, kind)
    with stage.cluster as cluster:
        long = [Asked(stage, "/sleep?9") for _ in range(3)]
        busy(cluster, 3)
        end(cluster)
        assert [asked.answer() for asked in long] == ["HTTP/1.1 200 OK"] * 3


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_longer_one_is_killed_after_graceful_timeout(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind, GRACEFUL_TIMEOUT="1")
    with stage.cluster as cluster:
        long = Asked(stage, "/sleep?30")
        busy(cluster, 1)
        began = time.monotonic()
        assert cluster.stop() == 0
        assert time.monotonic() - began < 15  # and not the request's 30
        assert "200" not in long.answer()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_old_worker_has_graceful_timeout_at_a_reload_too(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind, GRACEFUL_TIMEOUT="1")
    with stage.cluster as cluster:
        long = Asked(stage, "/sleep?60")
        busy(cluster, 1)
        assert cluster.reload().returncode == 0
        cluster.wait_log("stopped (reload)", times=3)
        assert "200" not in long.answer()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_drain_at_once(tmp_path: Path, second: int) -> None:
    stage = Stage(tmp_path, TCP_THREADS, GRACEFUL_TIMEOUT="60")
    with stage.cluster as cluster:
        long = Asked(stage, "/sleep?20")
        busy(cluster, 1)
        cluster.signal(signal.SIGTERM)
        cluster.wait_log("Handling signal: term")
        began = time.monotonic()
        assert cluster.process is not None
        cluster.process.send_signal(second)
        cluster.wait_exit()
        assert time.monotonic() - began < 10
        assert "200" not in long.answer()


def test_int_stops_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TCP_THREADS, GRACEFUL_TIMEOUT="60")
    with stage.cluster as cluster:
        long = Asked(stage, "/sleep?20")
        busy(cluster, 1)
        began = time.monotonic()
        assert cluster.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 10
        assert "200" not in long.answer()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_the_kernel_has_accepted_is_answered_on_term(tmp_path: Path, kind: Kind) -> None:
    threads = "1"
    stage = Stage(tmp_path, kind, CLUSTER_WORKERS="2")
    stage.set(THREADS=threads)
    with stage.cluster as cluster:
        # One or two are served, the others wait: in the workers' own queues, or in the kernel's.
        clients = [Asked(stage, "/sleep?0.4") for _ in range(12)]
        busy(cluster, 1)
        assert cluster.stop() == 0
        assert [asked.answer() for asked in clients] == ["HTTP/1.1 200 OK"] * 12
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            connect(stage)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_stop_under_load_refuses_the_late_and_fails_nobody_else(
    tmp_path: Path, kind: Kind
) -> None:
    stage = Stage(tmp_path, kind)
    with stage.under_load() as load:
        load.wait(1)
        assert stage.cluster.stop() == 0
    assert load.report.failures["refused"] > 0
    assert not_refused(load) <= LAST_MOMENT, load.report.details


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_workers_of_a_killed_master_finish_and_free_the_port(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    with stage.cluster as cluster:
        below = [process.pid for process in cluster.processes]
        long = Asked(stage, "/sleep?6")
        busy(cluster, 1)
        assert cluster.process is not None
        cluster.signal(signal.SIGKILL)
        cluster.wait_exit()
        if kind.worker_class != "sync":  # a sync worker can do nothing else meanwhile
            wait_until(lambda: not accepts(stage), what="the port to be free", seconds=5)
        assert long.answer() == "HTTP/1.1 200 OK"
        wait_until(lambda: not accepts(stage), what="the port to be free")
        wait_until(
            lambda: not any(start_ticks(pid) for pid in below), what="mold and workers to end"
        )


def accepts(stage: Stage) -> bool:
    try:
        connect(stage).close()
    except OSError:
        return False
    return True


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_twenty_reloads_lose_nothing(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        for number in range(1, 21):
            stage.write(release(f"v{number}"))
            cluster.signal(signal.SIGHUP)
            cluster.wait_log("[Master] Reload complete: 3/3 on release", times=number)
    assert load.report.failed == 0, load.report.details
    assert load.report.sent > 20


def test_a_plain_restart_does_lose_requests(tmp_path: Path) -> None:
    """The negative control: the same load sees what a stop and a start cost."""
    stage = Stage(tmp_path, TCP_THREADS)
    cluster = stage.cluster
    with stage.under_load() as load:
        cluster.stop()
        cluster.start()
        cluster.wait_log("[Master] All workers ready", times=2)
    assert load.report.failures["refused"] > 0


def test_a_change_of_address_loses_nobody_at_the_old_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TCP_THREADS)
    cluster = stage.cluster
    new = tmp_path / "new.sock"
    with stage.under_load() as load:
        load.wait(0.5)
        stage.set(BIND=f"unix:{new}")
        assert cluster.reload().returncode == 0
        stage.socket = new
        with Load(stage.target, rate=50, timeout=PATIENCE) as after:
            after.wait(0.5)
        assert after.report.failed == 0
    assert not_refused(load) <= LAST_MOMENT, load.report.details
    assert os.path.lexists(new) is False
