"""The consumers of a development start, from its begin to its end; stand-ins in their place."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import Cluster
from tests.integration import own_application
from tests.integration.own_application import OBEDIENT, STUBBORN
from tests.processes import runs
from tests.wait import wait_until


class Development(Cluster):
    """A development start of the stand-in; its database is never asked."""

    def __init__(self, directory: Path, consumers: str = OBEDIENT, **env: str):
        own_application.write(directory, consumers)
        given = {
            "APP_ENV": "development",
            "CLUSTER_WORKERS": "1",
            "DATABASE_URL": "postgresql://127.0.0.1:1/none",
            "GRACEFUL_TIMEOUT": "60",
            "NOTES": str(directory),
        }
        super().__init__(directory, env=given | env)

    def noted(self, name: str) -> list[int]:
        """The pids that stand in a note; a line that is being written is not one yet."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.directory / name).read_text().splitlines(keepends=True)
            return [int(line) for line in lines if line.endswith("\n")]
        return []

    def wait_begun(self, times: int = 1) -> psutil.Process:
        """The last start, when there were so many."""
        wait_until(lambda: len(self.noted("begun")) >= times, what=f"{times} start(s)")
        return psutil.Process(self.noted("begun")[-1])

    def wait_gone(self, process: psutil.Process) -> None:
        wait_until(lambda: not runs(process), what=f"the end of {process.pid}", seconds=60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Development]:
    with Development(tmp_path) as running:
        yield running


def test_they_run_beside_the_workers_and_end_before_the_master(cluster: Development) -> None:
    consumers = cluster.wait_begun()
    assert os.getsid(consumers.pid) != os.getsid(cluster.pid)  # Ctrl-C is not for them
    assert consumers.ppid() == cluster.pid
    assert "migrated" in cluster.log
    assert cluster.stop(signal.SIGINT) == 0
    assert not runs(consumers)
    assert cluster.noted("ended") == [consumers.pid]
    assert "Traceback" not in cluster.log
    assert not cluster.lines(r"ERROR|WARNING")


def test_a_killed_master_leaves_none_behind_though_a_worker_stays(cluster: Development) -> None:
    consumers = cluster.wait_begun()
    (worker,) = (psutil.Process(pid) for pid in cluster.titled("worker-1"))
    worker.send_signal(signal.SIGSTOP)
    try:
        cluster.signal(signal.SIGKILL)
        cluster.wait_gone(consumers)
        assert cluster.noted("ended") == [consumers.pid]  # its input has ended
        assert runs(worker)
    finally:
        worker.kill()


def test_a_death_is_logged_once_and_they_start_anew(cluster: Development) -> None:
    first = cluster.wait_begun()
    first.kill()
    second = cluster.wait_begun(2)
    assert second.pid != first.pid
    (line,) = cluster.lines("Consumers died")
    assert "Consumers died (signal SIGKILL). Restarting..." in line
    assert cluster.get("/").status == 200
    cluster.stop()
    assert cluster.noted("ended") == [second.pid]


def test_those_that_die_at_once_are_held_back_and_the_workers_serve(tmp_path: Path) -> None:
    sick = "if not (notes / 'mended').exists():\n    sys.exit(7)\nnote('stays', os.getpid())\n"
    with Development(tmp_path, sick + OBEDIENT) as cluster:
        cluster.wait_log("Consumers died (exit code 7). Restarting in ", times=4)
        pauses = [line.rpartition("in ")[2] for line in cluster.lines("Restarting in")][:4]
        assert pauses == ["0.1 s", "0.2 s", "0.2 s", "0.3 s"]
        assert cluster.get("/").status == 200
        assert not cluster.lines("Worker 1 .* died")
        (tmp_path / "mended").touch()
        wait_until(lambda: cluster.noted("stays"), what="one that stays", seconds=60)
        assert cluster.stop() == 0
        assert len(cluster.lines("Consumers died")) == len(cluster.noted("begun")) - 1


def test_those_that_do_not_hear_the_end_are_killed_in_time(tmp_path: Path) -> None:
    with Development(tmp_path, STUBBORN, GRACEFUL_TIMEOUT="1") as cluster:
        consumers = cluster.wait_begun()
        assert cluster.stop() == 0
        assert cluster.noted("deaf") == [consumers.pid]
        assert not runs(consumers)
        assert "Consumers did not end within 1 s: killed" in cluster.log


def test_after_a_reload_they_run_the_new_code(cluster: Development) -> None:
    first = cluster.wait_begun()
    own_application.write(cluster.directory, "note('new', os.getpid())\n" + OBEDIENT)
    cluster.signal(signal.SIGHUP)
    cluster.wait_log("Reload complete")
    second = cluster.wait_begun(2)
    wait_until(lambda: cluster.noted("new") == [second.pid], what="the new code")
    assert cluster.noted("ended") == [first.pid]
    assert not cluster.lines("Consumers died")


def test_the_former_ones_are_killed_when_a_reload_does_not_end_them(tmp_path: Path) -> None:
    with Development(tmp_path, STUBBORN, GRACEFUL_TIMEOUT="1") as cluster:
        first = cluster.wait_begun()
        own_application.write(tmp_path, OBEDIENT)
        cluster.signal(signal.SIGHUP)
        second = cluster.wait_begun(2)
        assert not runs(first)
        assert "Consumers did not end within 1 s: killed" in cluster.log
        assert not cluster.lines("Consumers died")
        cluster.stop()
        assert cluster.noted("ended") == [second.pid]


def test_a_refused_reload_leaves_them_alone(cluster: Development) -> None:
    first = cluster.wait_begun()
    (cluster.directory / "app/wsgi.py").write_text("raise RuntimeError('broken')\n")
    cluster.signal(signal.SIGHUP)
    cluster.wait_log("Reload refused")
    cluster.stop()
    assert cluster.noted("begun") == cluster.noted("ended") == [first.pid]


def test_a_reload_switches_them_off_and_on(cluster: Development) -> None:
    env_file = cluster.directory / ".env"
    first = cluster.wait_begun()
    env_file.write_text("DEVELOPMENT_CONSUMERS=off\n")
    cluster.signal(signal.SIGHUP)
    cluster.wait_log("Reload complete")
    cluster.wait_gone(first)
    env_file.write_text("DEVELOPMENT_CONSUMERS=on\nFROM_FILE=read anew\n")
    cluster.signal(signal.SIGHUP)
    cluster.wait_log("Reload complete", times=2)
    second = cluster.wait_begun(2)
    assert second.environ()["FROM_FILE"] == "read anew"
    assert len(cluster.lines("Consumers started")) == 2


def test_a_second_master_has_its_own_when_the_first_has_left(cluster: Development) -> None:
    first, pid = cluster.wait_begun(), cluster.pid
    cluster.signal(signal.SIGUSR2)
    cluster.wait_log("All workers ready", times=2)
    assert cluster.noted("begun") == [first.pid]
    os.kill(pid, signal.SIGTERM)
    second = cluster.wait_begun(2)
    cluster.wait_gone(first)
    assert second.ppid() == cluster.pid
    assert runs(second)
    master = psutil.Process(cluster.pid)
    master.terminate()
    cluster.wait_gone(master)
    assert cluster.noted("ended") == [first.pid, second.pid]


def test_no_database_no_consumers(tmp_path: Path) -> None:
    for folder in ("var", "var/postgres"):
        (tmp_path / folder).mkdir()
    (tmp_path / "var/postgres/something").touch()  # so that the embedded one refuses to start
    with Development(tmp_path, DATABASE_URL="") as cluster:
        assert "No database: going on without" in cluster.log
        assert cluster.stop() == 0
        assert not cluster.noted("begun")


def test_nothing_is_started_outside_development(tmp_path: Path) -> None:
    with Development(tmp_path, APP_ENV="test") as cluster:
        assert cluster.get("/").status == 200
        assert cluster.stop() == 0
        assert not cluster.noted("begun")
