"""Death and return of workers; signals to the master."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.cluster import Cluster, free_port
from tests.integration.conftest import gate
from tests.processes import runs
from tests.wait import wait_until


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGKILL, "signal SIGKILL"), (signal.SIGSEGV, "signal SIGSEGV")],
)
def test_a_killed_worker_is_logged_with_its_reason_and_its_slot_is_ready_again(
    cluster: Cluster, number: int, reason: str
) -> None:
    before = cluster.pids()
    os.kill(before["worker-2"], number)
    cluster.wait_log("[Master] Replacement worker 2 (worker-2) is ready")
    assert f"[Master] Worker 2 (worker-2) died ({reason}). Restarting..." in cluster.log

    after = cluster.pids()
    assert after.keys() == before.keys()
    assert after["worker-2"] != before["worker-2"]
    assert (after["worker-1"], after["worker-3"]) == (before["worker-1"], before["worker-3"])
    slot = cluster.slot(2)
    assert slot["restarts"] == 1
    assert slot["last_exit"]["reason"] == reason
    assert slot["last_exit"]["pid"] == before["worker-2"]
    assert cluster.log.count("All workers ready") == 1


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_a_worker_that_exits_is_replaced_whatever_its_code(cluster: Cluster, code: int) -> None:
    with pytest.raises(ConnectionError):
        cluster.get(f"/exit/{code}")
    cluster.wait_log("[Master] Replacement worker ")
    (died,) = cluster.lines("died")
    assert f"died (exit code {code}). Restarting..." in died
    assert cluster.get("/").status == 200


def test_a_worker_whose_heart_stands_still_is_replaced_for_a_timeout(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"REQUEST_TIMEOUT": "2"}) as cluster:
        os.kill(cluster.pids()["worker-1"], signal.SIGSTOP)
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
        cluster.wait_log("[Master] Worker 1 (worker-1) died (timeout). Restarting...")
        assert cluster.slot(1)["last_exit"]["reason"] == "timeout"


def test_an_aborted_worker_says_where_it_was(tmp_path: Path) -> None:
    env = {"REQUEST_TIMEOUT": "1", "WORKER_CLASS": "sync", "THREADS": "1", "CLUSTER_WORKERS": "1"}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        assert cluster.get("/sleep?30").status == 500
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
        assert "[worker-1] Aborted" in cluster.log
        assert "time.sleep(float(environ" in cluster.log


def test_a_worker_that_cannot_boot_any_more_does_not_stop_the_others(
    tmp_path: Path,
) -> None:
    release = tmp_path / "code"
    release.mkdir()
    module = release / "changing.py"
    module.write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n")
    # With a mold it would come back whatever is on the disk.
    env = {"CLUSTER_PRELOAD": "fresh"}
    with Cluster(tmp_path, "--chdir", str(release), "changing:app", env=env) as cluster:
        module.write_text("raise RuntimeError('broken on disk')\n")
        os.kill(cluster.pids()["worker-3"], signal.SIGKILL)
        cluster.wait_log("RuntimeError: broken on disk", times=2)
        assert cluster.get("/").status == 200
        assert cluster.command("status").returncode == 3
        assert cluster.status()["state"] == "degraded"

        module.write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n")
        cluster.wait_log("[Master] Replacement worker 3 (worker-3) is ready")
        # The start's canary, too, may have met the broken code; it asks again each second.
        wait_until(lambda: cluster.command("status").returncode == 0, what="status to be ready")


def test_each_worker_has_a_cpu_of_its_own_when_asked_to(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    env = {"WORKER_AFFINITY": "cpu", "CLUSTER_WORKERS": str(len(allowed))}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        assert os.sched_getaffinity(cluster.pid) == allowed
        before = cluster.pids()
        taken = [os.sched_getaffinity(pid) for pid in before.values()]
        assert sorted(cpu for cpus in taken for cpu in cpus) == sorted(allowed)
        assert cluster.get("/").status == 200
        for pid in before.values():
            threads = [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
            assert {frozenset(os.sched_getaffinity(each)) for each in threads} == {
                frozenset(os.sched_getaffinity(pid))
            }
        os.kill(before["worker-1"], signal.SIGKILL)
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
        assert os.sched_getaffinity(cluster.pids()["worker-1"]) == taken[0]


@pytest.mark.parametrize(("own", "expected"), [("", b"2000"), ("gc.set_threshold(123)", b"123")])
def test_new_objects_are_collected_less_often_unless_the_application_says_when(
    tmp_path: Path, own: str, expected: bytes
) -> None:
    (tmp_path / "collected.py").write_text(
        f"import gc\n{own}\ndef app(environ, start):\n"
        "    start('200 OK', [])\n    return [str(gc.get_threshold()[0]).encode()]\n"
    )
    with Cluster(tmp_path / "cluster", "--chdir", str(tmp_path), "collected:app") as cluster:
        assert cluster.get("/").body == expected


def test_ttin_and_ttou_add_and_remove_the_highest_slot(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.signal(signal.SIGTTIN)
    cluster.wait_log("[Master] Worker 4 (worker-4) is ready [4/4]")
    assert "[Master] Workers: 3 before, 4 now" in cluster.log

    cluster.signal(signal.SIGTTOU)
    cluster.wait_log("[Master] Worker 4 (worker-4) stopped (exit code 0)")
    cluster.signal(signal.SIGTTOU)
    cluster.wait_log("[Master] Worker 3 (worker-3) stopped (exit code 0)")
    del before["worker-3"]
    assert cluster.pids() == before
    assert "died" not in cluster.log


def test_hup_gives_every_slot_a_new_worker(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.signal(signal.SIGHUP)
    cluster.wait_log("[Master] All workers ready", times=2)
    after = cluster.pids()
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    wait_until(
        lambda: {slot["generation"] for slot in cluster.status()["slots"]} == {2},
        what="the old ones to leave",
    )
    assert "died" not in cluster.log


def test_a_reload_of_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text("THREADS=2\n")
    with Cluster(tmp_path, app="plain:app", env={"ENV_FILE": str(file)}) as cluster:
        before = cluster.pids()
        file.write_text("THREADS=many\n")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("[Master] Reload refused: THREADS='many': expected an integer from 1 to")
        assert cluster.pids() == before
        os.kill(before["worker-1"], signal.SIGKILL)
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")

        file.write_text("THREADS=3\nFROM_FILE=new\n")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("[Master] All workers ready", times=2)
        cluster.wait_log("stopped (reload)", times=3)  # until then an old one may answer
        assert cluster.get("/").json["FROM_FILE"] == "new"


def test_status_follows_a_reload_that_changes_mode_and_address(tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text("CLUSTER_MODE=cluster\n")
    port = free_port()
    env = {"ENV_FILE": str(file), "PORT": ""}
    file.write_text(f"PORT={port}\n")
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        assert cluster.status()["address"] == f"127.0.0.1:{port}"
        cluster.port = free_port()
        file.write_text(f"PORT={cluster.port}\nCLUSTER_MODE=fork\nRELEASE=next\n")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("All workers ready", times=2)
        status = cluster.status()
        assert (status["mode"], status["release"]) == ("fork", "next")
        assert status["address"] == f"127.0.0.1:{cluster.port}"
        assert status["workers"] == {"wanted": 1, "ready": 1}
        assert cluster.get("/").json["RELEASE"] == "next"


def test_a_worker_over_max_requests_retires(tmp_path: Path) -> None:
    env = {"MAX_REQUESTS": "5", "CLUSTER_WORKERS": "1", "LOG_FORMAT": "json"}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        for _ in range(5):
            assert cluster.get("/").status == 200
        cluster.wait_log("[Master] Worker 1 (worker-1) retired (max requests)")
        assert cluster.lines('"event": "worker.retired"')
        cluster.wait_log("is ready", times=2)
        assert "died" not in cluster.log


def test_usr2_starts_a_second_master_that_takes_over(cluster: Cluster) -> None:
    first = cluster.pid
    cluster.signal(signal.SIGUSR2)
    cluster.wait_log("[Master] All workers ready", times=2)
    os.kill(first, signal.SIGTERM)
    cluster.wait_exit()
    pid_file = cluster.runtime / "gunicorn.pid"
    wait_until(lambda: pid_file.exists() and cluster.pid != first, what="its pid in the pid file")
    try:
        assert cluster.get("/").status == 200
        assert cluster.status()["master"]["pid"] == cluster.pid
        assert cluster.status()["state"] == "ready"
    finally:
        second = psutil.Process(cluster.pid)
        second.terminate()
        wait_until(lambda: not runs(second), what="the second master to end")


def test_a_slow_request_is_seen_as_busy_and_counted_when_it_is_answered(
    tmp_path: Path,
) -> None:
    with (
        Cluster(tmp_path, app="plain:app", env={"CLUSTER_WORKERS": "1"}) as cluster,
        ThreadPoolExecutor(1) as client,
    ):
        for _ in range(10):
            cluster.get("/")
        wait_until(lambda: cluster.slot(1)["requests"] == 10, what="10 requests on the board")
        assert cluster.get("/boom").status == 500
        wait_until(lambda: cluster.slot(1)["requests"] == 11, what="the failed one, too")
        assert cluster.slot(1)["busy"] == 0
        with gate(tmp_path / "gate") as path:
            answer = client.submit(cluster.get, path)
            wait_until(lambda: cluster.slot(1)["busy"] == 1, what="a request in flight")
        assert answer.result().status == 200
        wait_until(lambda: cluster.slot(1)["busy"] == 0, what="its end")
