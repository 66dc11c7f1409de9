"""`make run`: everything from one command, and nothing left after one Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import Cluster, free_port
from tests.processes import runs
from tests.tree import copy_tree
from tests.wait import wait_until


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_tree(tmp_path / "clone")


class MakeRun(Cluster):
    """`make run` in a terminal's place: a process group of its own, which gets the Ctrl-C."""

    def __init__(self, tree: Path, *arguments: str, env: dict[str, str]):
        super().__init__(tree, env=env)
        self.runtime = tree / "var" / "run"
        self._command = ["make", "run", *arguments]
        for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "APP_ENV"):
            del self._env[name]

    def send(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)


@pytest.fixture
def running(tree: Path) -> Iterator[MakeRun]:
    with MakeRun(tree, env={"CLUSTER_WORKERS": "2"}) as cluster:
        yield cluster


def postmaster(cluster: Cluster) -> psutil.Process:
    """The embedded Postgres."""
    pid = (cluster.directory / "var/postgres/postmaster.pid").read_text().splitlines()[0]
    return psutil.Process(int(pid))


def test_one_command_serves_with_a_database_and_one_ctrl_c_ends_it_all(running: MakeRun) -> None:
    wait_until(lambda: running.get("/health/ready").status == 200, what="the database")
    assert running.get("/health").json["status"] == "ok"
    user = {"email": "someone@example.org", "password": "correct horse battery"}
    assert running.request("POST", "/api/auth/register", body=user).status == 201

    assert running.process is not None
    processes = psutil.Process(running.process.pid).children(recursive=True)
    assert any(process.pid == running.pid for process in processes)
    processes += [postmaster(running), *postmaster(running).children()]
    running.send(signal.SIGINT)
    running.wait_exit()
    assert not any(map(runs, processes))
    assert "Traceback" not in running.log
    assert "[Master] Stopped" in running.log

    running.log_file = running.directory / "second.log"
    with running:  # what was stored is still there
        wait_until(lambda: running.get("/health/ready").status == 200, what="the database")
        assert running.request("POST", "/api/auth/login", body=user).status == 200


def test_a_master_that_is_killed_takes_the_database_down_in_the_end(running: MakeRun) -> None:
    database = postmaster(running)
    running.signal(signal.SIGKILL)
    wait_until(lambda: not runs(database), what="Postgres to stop", seconds=60)


def test_make_run_takes_the_mode(tree: Path) -> None:
    with MakeRun(tree, "MODE=fork", env={}) as cluster:
        assert "starting in fork mode with 1 worker(s)" in cluster.log


def test_nothing_embedded_starts_when_a_database_is_named(tree: Path, database_url: str) -> None:
    with MakeRun(tree, env={"DATABASE_URL": database_url}) as cluster:
        wait_until(lambda: cluster.get("/health/ready").status == 200, what="the database")
        assert "embedded Postgres" not in cluster.log
        assert not (tree / "var" / "postgres").exists()


def test_a_taken_port_is_said_at_once_with_its_holder(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        make = MakeRun(tree, env={"PORT": str(port)})
        make.start()
        assert make.wait_exit() == 2  # make's own code for a recipe that failed
    assert f"127.0.0.1:{port} is taken by pid {os.getpid()} (" in make.log
    assert not (tree / "var" / "postgres").exists()


def test_gunicorn_by_hand_brings_its_database_as_well(tree: Path) -> None:
    cluster = Cluster(tree, env={"CLUSTER_WORKERS": "1", "APP_ENV": "development"})
    cluster._command = [".venv/bin/gunicorn", "-c", "gunicorn.conf.py"]  # noqa: SLF001
    cluster.port = free_port()
    cluster._env["PORT"] = str(cluster.port)  # noqa: SLF001
    with cluster:
        wait_until(lambda: cluster.get("/health/ready").status == 200, what="the database")
        database = postmaster(cluster)
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("All workers ready", times=2)
        assert cluster.get("/health/ready").status == 200
        assert postmaster(cluster).pid == database.pid
    assert not runs(database)
