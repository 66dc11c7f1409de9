"""From `gunicorn -c gunicorn.conf.py` to the last process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deploy.state.scoreboard import Scoreboard
from tests.cluster import ROOT, Cluster
from tests.processes import runs
from tests.wait import wait_until


def test_workers_become_ready_one_by_one_and_all_of_them_answer(cluster: Cluster) -> None:
    assert "[Master] Smart Factory starting in cluster mode with 3 worker(s)" in cluster.log
    ready = cluster.lines(r"is ready \[")
    assert [line.rpartition("is ready ")[2] for line in ready] == ["[1/3]", "[2/3]", "[3/3]"]
    for number in (1, 2, 3):
        assert f"[Master] Worker {number} (worker-{number}) is ready" in cluster.log
    workers = set()

    def all_answered() -> bool:
        workers.add(cluster.get("/").json["WORKER_ID"])
        return len(workers) == 3

    wait_until(all_answered, what="an answer from each of the three workers")


def test_the_application_learns_who_it_is_from_its_environment(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"RELEASE": "2f1c9e"}) as cluster:
        who = cluster.get("/").json
    assert who["WORKER_ID"] == f"worker-{who['WORKER_SLOT']}"
    assert (who["RELEASE"], who["CLUSTER_WORKERS"]) == ("2f1c9e", "3")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_and_no_file(tmp_path: Path, number: int) -> None:
    with Cluster(tmp_path, app="plain:app") as cluster:
        master = psutil.Process(cluster.pid)
        # The mold and three workers; the canary of the start leaves by itself.
        wait_until(lambda: len(master.children(recursive=True)) == 4, what="the canary to leave")
        processes = master.children(recursive=True)
        assert cluster.stop(number) == 0
        assert not any(map(runs, processes))
        assert list(cluster.runtime.iterdir()) == []
        assert "[Master] Stopped" in cluster.log
        assert "died" not in cluster.log
        assert "Restarting" not in cluster.log


def test_fork_mode_is_one_worker(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"CLUSTER_MODE": "fork"}) as cluster:
        assert "[Master] Smart Factory starting in fork mode with 1 worker(s)" in cluster.log
        assert cluster.pids().keys() == {"worker-1"}


def test_without_a_number_the_workers_are_the_cpus_of_this_process_less_one(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        with Cluster(tmp_path / "a", app="plain:app", env={"CLUSTER_WORKERS": ""}) as cluster:
            assert cluster.status()["workers"] == {"wanted": 1, "ready": 1}
        with Cluster(tmp_path / "b", app="plain:app", env={"CLUSTER_WORKERS": "2"}) as cluster:
            assert "2 workers on 1 CPU(s)" in cluster.log
    finally:
        os.sched_setaffinity(0, allowed)


def test_values_of_the_env_file_reach_kit_and_application(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("THREADS=2\nFROM_FILE='one $two'\nFROM_BOTH=file\n")
    env = {"ENV_FILE": str(tmp_path / "app.env"), "FROM_BOTH": "environment"}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        seen = cluster.get("/").json
    assert (seen["FROM_FILE"], seen["FROM_BOTH"]) == ("one $two", "environment")


def test_a_number_in_the_file_is_what_the_application_sees_when_it_is_max(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("CLUSTER_WORKERS=max\nWORKER_ID=worker-9\n")
    env = {"ENV_FILE": str(tmp_path / "app.env"), "CLUSTER_WORKERS": ""}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        seen = cluster.get("/").json
        assert seen["CLUSTER_WORKERS"] == str(cluster.status()["workers"]["wanted"])
        assert seen["WORKER_ID"] in cluster.pids()


def test_an_argument_of_gunicorns_own_wins(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--workers", "2", app="plain:app") as cluster:
        assert "with 2 worker(s)" in cluster.log
        assert cluster.pids().keys() == {"worker-1", "worker-2"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLUSTER_WORKERS", "abc"),
        ("PORT", "99999"),
        ("CLUSTER_MODE", "pm2"),
        ("WORKER_CLASS", "no.such.Worker"),
        ("RUNTIME_DIRECTORY", "/proc/nowhere"),
        ("ENV_FILE", "/nowhere/app.env"),
    ],
)
def test_a_wrong_variable_is_refused_before_anything_starts(
    tmp_path: Path, name: str, value: str
) -> None:
    cluster = Cluster(tmp_path, app="plain:app", env={name: value})
    cluster.start()
    assert cluster.wait_exit() == 2
    (line,) = cluster.log.splitlines()
    assert line.startswith(f"smart-factory: {name}='{value}': expected ")


def test_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = Cluster(tmp_path, app="plain:app", env={"PORT": str(port)})
        cluster.start()
        assert cluster.wait_exit() == 1
    assert f"127.0.0.1:{port} is taken by pid {os.getpid()} (" in cluster.log
    assert "set PORT or BIND to a free address" in cluster.log
    assert "Traceback" not in cluster.log
    assert list(cluster.runtime.iterdir()) == []


def test_workers_of_a_killed_master_are_waited_for(tmp_path: Path) -> None:
    with Cluster(tmp_path / "first", app="plain:app") as first:
        slow = first.pids()["worker-2"]
        os.kill(slow, signal.SIGSTOP)
        first.signal(signal.SIGKILL)
        first.wait_exit()
        second = Cluster(tmp_path / "second", app="plain:app", env={"PORT": str(first.port)})
        second.port = first.port
        second.start()
        try:
            second.wait_log("which has lost its master: waiting for it to end")
            os.kill(slow, signal.SIGCONT)
            second.wait_ready()
            assert second.get("/").status == 200
        finally:
            second.stop()


def test_a_second_start_beside_a_running_master_is_refused(cluster: Cluster) -> None:
    second = Cluster(cluster.directory, app="plain:app")
    second.log_file = cluster.directory / "second.log"
    second.start()
    assert second.wait_exit() == 1
    assert f"Already running on PID {cluster.pid}" in second.log
    assert cluster.status()["state"] == "ready"


def test_a_pid_file_whose_pid_is_another_process_now_is_no_obstacle(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app") as cluster:
        board = Scoreboard.open(cluster.runtime / "scoreboard")
        former = replace(board.master(), pid=os.getpid(), start_ticks=1)
        board.close()
        cluster.stop()
        Scoreboard.create(cluster.runtime / "scoreboard", former)
        (cluster.runtime / "gunicorn.pid").write_text(f"{os.getpid()}\n")
        cluster.log_file = tmp_path / "second.log"
        with cluster:
            assert cluster.get("/").status == 200


def test_an_application_that_does_not_load_ends_the_start_with_its_traceback(
    tmp_path: Path,
) -> None:
    cluster = Cluster(tmp_path, app="broken:app")
    cluster.start()
    assert cluster.wait_exit() == 3
    assert "RuntimeError: this application does not load" in cluster.log
    assert "[Master] The application does not load: RuntimeError: this app" in cluster.log
    assert cluster.log.count("Traceback") == 1


def test_an_error_that_carries_an_exit_code_is_one_line_and_that_code(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="refusing:app", env={"CLUSTER_WORKERS": "1"})
    cluster.start()
    assert cluster.wait_exit() == 2
    assert "SECRET_KEY: required in production" in cluster.log
    assert "Traceback" not in cluster.log


def test_a_unix_socket_is_served_and_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    cluster = Cluster(tmp_path, app="plain:app", env={"BIND": f"unix:{path}"})
    with cluster, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"".join(iter(lambda: client.recv(4096), b"")).startswith(b"HTTP/1.1 200 OK")
    assert not path.exists()


def test_the_configuration_can_be_checked_without_a_start(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "--check-config", app="plain:app")
    cluster.start()
    assert cluster.wait_exit() == 0


def test_the_master_never_imports_the_application(cluster: Cluster) -> None:
    maps = Path(f"/proc/{cluster.pid}/maps").read_text()
    assert "psycopg" not in maps
    code = f"import runpy; runpy.run_path({str(ROOT / 'gunicorn.conf.py')!r}); import sys; "
    code += "print([m for m in sys.modules if m.split('.')[0] in ('app', 'flask', 'psycopg')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cluster.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
