"""WebSocket clients of a worker that leaves, and of a Postgres that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.cluster import GUNICORN, ROOT, Cluster, free_port
from tests.integration.realtime_clients import (
    HANDSHAKE,
    SECONDS,
    close_code,
    join,
    one_on_each,
    raw,
    serving,
    status_of,
)
from tests.wait import wait_until

RESTART = 1012
LATER = 1013


class Faithful(threading.Thread):
    """A client that comes back whenever it is closed, and notes how and how long it was away."""

    def __init__(self, port: int):
        super().__init__()
        self.port = port
        self.codes: list[int] = []
        self.away: list[float] = []  # seconds
        self.heard: set[str] = set()
        self.inside = threading.Event()
        self.leave = threading.Event()

    def run(self) -> None:
        closed = time.monotonic()
        while not self.leave.is_set():
            try:
                with join(self.port) as client:
                    if self.codes:
                        self.away.append(time.monotonic() - closed)
                    self.inside.set()
                    while not self.leave.is_set():
                        try:
                            self.heard.add(str(client.recv(timeout=0.1)))
                        except TimeoutError:
                            continue
            except ConnectionClosed as error:
                self.inside.clear()
                closed = time.monotonic()
                self.codes.append(1006 if error.rcvd is None else error.rcvd.code)
            except (OSError, EOFError, InvalidHandshake):
                time.sleep(0.02)


def clean(cluster: Cluster) -> bool:
    return not cluster.lines(r"ERROR|CRITICAL|Traceback")


def test_a_reload_sends_each_client_to_a_new_worker(tmp_path: Path, database_url: str) -> None:
    with serving(tmp_path, database_url) as cluster:
        clients = [Faithful(cluster.port) for _ in range(9)]
        for client in clients:
            client.start()
        try:
            wait_until(lambda: all(c.inside.is_set() for c in clients), what="all to be inside")
            cluster.signal(signal.SIGHUP)
            cluster.wait_log("[Master] All workers ready", times=2)
            cluster.wait_log("stopped (reload)", times=3)
            wait_until(lambda: all(c.inside.is_set() for c in clients), what="all to be back")
            wait_until(lambda: all_hear(cluster, clients), what="all to hear a message")
        finally:
            for client in clients:
                client.leave.set()
            for client in clients:
                client.join(SECONDS)
        # One who lands on a worker that has not been replaced yet is told a second time.
        assert all(c.codes and set(c.codes) == {RESTART} for c in clients)
        assert max(away for c in clients for away in c.away) < 15
        assert clean(cluster)
        assert "died" not in cluster.log


def all_hear(cluster: Cluster, clients: list[Faithful]) -> bool:
    """Says it once more: who has not noticed yet that its worker is gone misses it."""
    with join(cluster.port) as speaker:
        speaker.send("after the reload")
        assert speaker.recv(timeout=SECONDS) == "after the reload"
    return all("after the reload" in client.heard for client in clients)


def test_a_stop_tells_all_clients_and_waits_for_none(tmp_path: Path, database_url: str) -> None:
    with (
        serving(tmp_path, database_url, GRACEFUL_TIMEOUT="30") as cluster,
        one_on_each(cluster.port) as clients,
        raw(cluster.port),  # its answer to the close never comes
    ):
        began = time.monotonic()
        cluster.signal(signal.SIGTERM)
        assert {close_code(client) for client in clients.values()} == {RESTART}
        assert cluster.wait_exit() == 0
        assert time.monotonic() - began < 25
        assert clean(cluster)


def test_clients_are_told_while_the_worker_still_finishes_its_requests(
    tmp_path: Path, database_url: str
) -> None:
    """The notice comes at the beginning of the drain, not at its end."""
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, time\n"
        "from app.wsgi import app as served\n"
        "gate = pathlib.Path(os.environ['GATE'])\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/slow':\n"
        "        gate.touch()\n"
        "        while gate.exists():\n"
        "            time.sleep(0.02)\n"
        "        start_response('200 OK', [('Content-Length', '0')])\n"
        "        return [b'']\n"
        "    return served(environ, start_response)\n"
    )
    gate = tmp_path / "gate"
    env = {
        "DATABASE_URL": database_url,
        "GATE": str(gate),
        "PYTHONPATH": str(ROOT),
        "CLUSTER_WORKERS": "1",
        "GRACEFUL_TIMEOUT": "30",
    }
    with (
        Cluster(tmp_path / "c", "--chdir", str(tmp_path), "slow:app", env=env) as cluster,
        join(cluster.port) as client,
    ):
        worker = cluster.pids()["worker-1"]
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(cluster.get("/slow", timeout=60).status)
        )
        asking.start()
        wait_until(gate.exists, what="the slow request to be under way")
        os.kill(worker, signal.SIGTERM)
        assert close_code(client) == RESTART
        assert answers == []
        gate.unlink()
        asking.join(SECONDS)
        assert answers == [200]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_under_plain_gunicorn_clients_are_told_at_the_workers_end(
    tmp_path: Path, database_url: str, number: int
) -> None:
    port = free_port()
    env = {name: value for name, value in os.environ.items() if name != "WORKER_DRAIN_FD"}
    env |= {"DATABASE_URL": database_url, "APP_ENV": "test"}
    command = [str(GUNICORN), "-c", "/dev/null", "--threads", "4", "--bind", f"127.0.0.1:{port}"]
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen([*command, "app.wsgi:app"], cwd=ROOT, env=env, stderr=log) as server:
        try:
            wait_until(lambda: accepts(port), what="Gunicorn to listen")
            with join(port) as client:
                client.send("hello")
                assert client.recv(timeout=SECONDS) == "hello"
                server.send_signal(number)
                assert close_code(client) == RESTART
            server.wait(SECONDS)
        finally:
            server.kill()
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def accepts(port: int) -> bool:
    try:
        return status_of(port) == 101
    except OSError:
        return False


def test_without_postgres_clients_are_closed_and_come_back_with_it(
    tmp_path: Path, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    with serving(tmp_path, url) as cluster:
        with one_on_each(cluster.port) as clients:
            own_postgres.stop()
            assert [close_code(client) for client in clients.values()] == [LATER] * 3
        for _ in range(6):
            answer = cluster.get("/ws", headers=HANDSHAKE)
            assert (answer.status, answer.json["error"]["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"] == "1"
        own_postgres.start()
        wait_until(lambda: status_of(cluster.port) == 101, what="a handshake to be accepted")
        wait_until(lambda: comes_through(cluster), what="a message between all workers")
        assert clean(cluster)


def comes_through(cluster: Cluster) -> bool:
    try:
        with one_on_each(cluster.port) as clients:
            first, *_ = clients.values()
            first.send("back")
            return all(client.recv(timeout=SECONDS) == "back" for client in clients.values())
    except InvalidHandshake:  # each worker finds out for itself
        return False


def test_a_sender_whose_message_postgres_does_not_take_in_time_is_closed(
    tmp_path: Path, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    with serving(tmp_path, url, CLUSTER_WORKERS="1") as cluster, join(cluster.port) as client:
        client.send("taken")
        assert client.recv(timeout=SECONDS) == "taken"
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify%'"
            ).fetchone()
        assert row is not None
        backend = psutil.Process(row[0])
        backend.suspend()
        try:
            began = time.monotonic()
            client.send("lost")
            assert close_code(client) == LATER
            assert 1 < time.monotonic() - began < SECONDS
        finally:
            backend.resume()
        assert clean(cluster)
