"""Crash loops: back-off, degraded while others serve, recovery by itself."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
from datetime import datetime
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.wait import wait_until

HEAD = """
import os, threading, time
FLAG = os.path.join(os.path.dirname(__file__), "broken")
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
# After the fork that makes worker-2, while the flag file stands: at once, or after 0.2 s.
AT_BOOT = """
def post_worker_init(worker):
    if worker.slot == 2 and os.path.exists("broken"):
        os._exit(9)
"""
AFTER_A_WHILE = """
import threading
def post_worker_init(worker):
    if worker.slot == 2 and os.path.exists("broken"):
        threading.Timer(0.2, os._exit, [9]).start()
"""


def start(tmp_path: Path, *, hook: str = "", code: str = HEAD, **env: str) -> Cluster:
    from tests.cluster import ROOT

    release = tmp_path / "release"
    release.mkdir()
    (release / "served.py").write_text(code)
    config = tmp_path / "gunicorn.conf.py"
    config.write_text((ROOT / "gunicorn.conf.py").read_text() + hook)
    return Cluster(tmp_path / "c", "--chdir", str(release), "served:app", env=env, config=config)


@pytest.mark.parametrize("hook", [AT_BOOT, AFTER_A_WHILE], ids=["at boot", "after 0.2 s"])
def test_a_crash_loop_backs_off_while_the_others_serve_and_ends_with_its_cause(
    tmp_path: Path, hook: str
) -> None:
    flag = tmp_path / "release" / "broken"
    with start(tmp_path, hook=hook, LOG_FORMAT="json") as cluster:
        flag.touch()
        before = cluster.pids()
        os.kill(before["worker-2"], signal.SIGKILL)
        cluster.wait_log("died (exit code 9)", times=7)
        # Between two crashes a worker may be up for a moment.
        wait_until(lambda: cluster.command("status").returncode == 3, what="status to say so")
        wait_until(lambda: cluster.status()["state"] == "degraded", what="status to say so")
        assert cluster.get("/").status == 200
        times = [
            datetime.fromisoformat(json.loads(line)["timestamp"])
            for line in cluster.lines(r"died \(exit code 9\)")
        ]
        pauses = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
        # 100 ms × 1.5ⁿ, and on top of it boots, which may take any time. The first crash of a
        # worker that was ready costs no pause.
        least = [0.09 * 1.5 ** (n - 1) for n in range(1, 7)]
        assert all(pause > step for pause, step in zip(pauses[1:], least, strict=False)), pauses
        after = cluster.pids()
        assert (after["worker-1"], after["worker-3"]) == (before["worker-1"], before["worker-3"])

        flag.unlink()
        cluster.wait_log("[Master] Replacement worker 2 (worker-2) is ready")
        # In the loop it was ready now and then: the last pause may be one of 15 s.
        ready = "all to be ready"
        wait_until(lambda: cluster.command("status").returncode == 0, what=ready, seconds=60)


def test_a_crash_on_each_request_never_ends_the_service_and_a_fix_does_end_it(
    tmp_path: Path,
) -> None:
    poisoned = HEAD.replace('"2")])', '"2")])\n    os._exit(6)')
    with start(tmp_path, code=poisoned, CLUSTER_WORKERS="1") as cluster:
        for number in range(1, 13):
            ask(cluster)
            cluster.wait_log("(worker-1) died (exit code 6)", times=number)  # the canary does, too
        assert "worker-1 is in a crash loop: 10 crashes in a row" in cluster.log
        (tmp_path / "release" / "served.py").write_text(HEAD)
        cluster.wait_log("[Master] No worker stays up: trying what is on disk by now")
        cluster.wait_log("[Master] Reload complete")
        # Until the old one has left, it may be asked.
        wait_until(
            lambda: all(slot["generation"] != 1 for slot in cluster.status()["slots"]),
            what="the poisoned worker to leave",
        )
        assert cluster.get("/").status == 200


def ask(cluster: Cluster) -> None:
    """One request, whatever becomes of it; the next worker may have to be waited for."""
    with contextlib.suppress(ConnectionError):
        cluster.get("/")


def test_a_killed_worker_comes_back_whatever_is_on_disk_by_then(tmp_path: Path) -> None:
    with start(tmp_path) as cluster:
        (tmp_path / "release" / "served.py").write_text("raise RuntimeError('half a deployment')")
        for number in range(1, 4):
            os.kill(cluster.pids()["worker-2"], signal.SIGKILL)
            cluster.wait_log("[Master] Replacement worker 2 (worker-2) is ready", times=number)
        assert "half a deployment" not in cluster.log
        cluster.signal(signal.SIGTTIN)
        cluster.wait_log("[Master] Worker 4 (worker-4) is ready [4/4]")


def test_the_first_failing_probe_does_not_keep_the_service_down(tmp_path: Path) -> None:
    unready = HEAD.replace(
        '    start_response("200 OK"',
        '    if environ["PATH_INFO"] == "/health/ready" and os.path.exists(FLAG):\n'
        '        start_response("503 Away", [])\n        return [b"database: away"]\n'
        '    start_response("200 OK"',
    )
    cluster = start(tmp_path, code=unready, READY_TIMEOUT="5")  # to load in, too
    flag = tmp_path / "release" / "broken"
    flag.touch()
    with cluster:
        assert cluster.get("/").status == 200
        check = "GET /health/ready answered 503 Away: database: away"
        cluster.wait_log(f"[Master] The readiness probe fails: {check}. Serving all the same")
        assert cluster.status()["state"] == "degraded"
        assert cluster.status()["detail"] == check
        cluster.wait_log(f"[Master] Degraded after 5 s: {check}")

        # The running release fails the probe, and so does the same again: refused, unless forced.
        done = cluster.reload()
        assert done.returncode == 1
        assert check in done.stderr
        assert cluster.reload("--force").returncode == 0
        failing = f"[Master] The readiness probe fails: {check}. Serving all the same"
        cluster.wait_log(failing, times=2)  # what was forced is asked too
        flag.unlink()
        cluster.wait_log("[Master] The readiness probe passes")
        wait_until(lambda: cluster.command("status").returncode == 0, what="status to be ready")


def test_a_worker_that_dies_for_want_of_memory_is_replaced(tmp_path: Path) -> None:
    """In a memory control group of its own, where this machine grants one."""
    hungry = HEAD.replace(
        '    start_response("200 OK"',
        '    if environ["PATH_INFO"] == "/eat":\n        blob = bytearray(600 << 20)\n'
        '    start_response("200 OK"',
    )
    from tests.integration.memory_group import memory_group

    cluster = start(tmp_path, code=hungry)
    with memory_group(400 << 20) as join:
        cluster._command = [*join, *cluster._command]  # noqa: SLF001
        with cluster:
            with pytest.raises(ConnectionError):
                cluster.get("/eat")
            cluster.wait_log("died (out of memory). Restarting...")
            cluster.wait_log("[Master] Replacement worker ")
            assert re.search(r"died \(out of memory\)", cluster.log)
            assert cluster.get("/").status == 200


def test_describe_shows_the_traceback_of_the_last_failed_boot(tmp_path: Path) -> None:
    with start(tmp_path, CLUSTER_PRELOAD="fresh") as cluster:
        (tmp_path / "release" / "served.py").write_text("raise RuntimeError('half a deployment')")
        os.kill(cluster.pids()["worker-2"], signal.SIGKILL)
        cluster.wait_log("died (exit code 3). Restarting...", times=2)
        done = cluster.command("describe", "worker-2")
        assert done.returncode == 3
        assert "RuntimeError: half a deployment" in done.stdout
        assert "signal SIGKILL" in done.stdout
        facts = json.loads(cluster.command("describe", "2", "--json").stdout)
        assert "half a deployment" in json.dumps(facts)
