"""`python -m deploy status`, on clusters in every condition."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cluster import ROOT, Cluster
from tests.integration.conftest import gate
from tests.wait import wait_until


def test_the_table_shows_every_worker(cluster: Cluster) -> None:
    done = cluster.command("status")
    assert done.returncode == 0, done.stderr
    title, header, *rows = done.stdout.splitlines()
    assert re.match(r"Smart Factory +ready +3/3 ready · cluster · release \S+ · 127\.0", title)
    columns = "slot pid state uptime restarts requests req/s cpu rss pss release"
    assert " ".join(header.split()) == columns
    assert [row.split()[0] for row in rows] == ["worker-1", "worker-2", "worker-3"]
    assert all(re.search(r"ready +\d+s +0 +\d+ .* [\d.]+M +[\d.]+M ", row) for row in rows)
    assert "\033" not in done.stdout


def test_json_has_the_facts_of_each_slot(cluster: Cluster) -> None:
    facts = cluster.status()
    assert facts["state"] == "ready"
    assert facts["master"]["pid"] == cluster.pid
    assert facts["workers"] == {"wanted": 3, "ready": 3}
    assert facts["mode"] == "cluster"
    assert facts["address"] == f"127.0.0.1:{cluster.port}"
    for slot in facts["slots"]:
        assert slot["state"] == "ready"
        assert 0 < slot["pss"] <= slot["rss"]
        assert slot["ready_after_ms"] > 0
        assert slot["cpu_percent"] >= 0
        assert slot["last_exit"] is None
        assert slot["generation"] == 1


def test_requests_per_second_are_measured(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"CLUSTER_WORKERS": "1"}) as cluster:
        status = subprocess.Popen(
            [sys.executable, "-m", "deploy", "status", "--json", "--interval", "3"],
            cwd=ROOT,
            env=cluster._env,  # noqa: SLF001
            stdout=subprocess.PIPE,
        )
        while status.poll() is None:
            cluster.get("/")
        assert status.stdout is not None
        with status.stdout as output:
            (slot,) = json.load(output)["slots"]
    assert slot["requests_per_s"] > 1


def test_a_master_that_hangs_does_not_keep_status_waiting(cluster: Cluster) -> None:
    os.kill(cluster.pid, signal.SIGSTOP)
    try:
        assert cluster.status()["state"] == "ready"
    finally:
        os.kill(cluster.pid, signal.SIGCONT)


def test_a_cluster_that_does_not_run_is_code_3(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="plain:app")
    done = cluster.command("status")
    assert done.returncode == 3
    assert "not running (no scoreboard in " in done.stdout
    assert json.loads(cluster.command("status", "--json").stdout)["state"] == "stopped"


def test_a_killed_master_is_not_taken_for_a_running_one(cluster: Cluster) -> None:
    pid = cluster.pid
    os.kill(pid, signal.SIGKILL)
    cluster.wait_exit()
    done = cluster.command("status")
    assert done.returncode == 3
    assert f"not running (its master, pid {pid}, is gone)" in done.stdout


def test_a_draining_worker_is_shown_beside_its_successor(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, app="plain:app", env={"GRACEFUL_TIMEOUT": "100"}) as cluster,
        ThreadPoolExecutor(1) as client,
    ):
        with gate(tmp_path / "gate") as path:
            answer = client.submit(cluster.get, path)
            wait_until(
                lambda: any(slot["busy"] for slot in cluster.status()["slots"]), what="a request"
            )
            cluster.signal(signal.SIGHUP)
            wait_until(
                lambda: (
                    sorted(slot["state"] for slot in cluster.status()["slots"])
                    == ["draining", "ready", "ready", "ready"]
                ),
                what="one old worker draining beside three new ones",
            )
        assert answer.result().status == 200
        wait_until(lambda: len(cluster.status()["slots"]) == 3, what="the old one to leave")


def test_bad_usage_is_code_2(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="plain:app")
    assert cluster.command("status", "--interval", "-1").returncode == 2
    assert cluster.command("stats").returncode == 2
    assert cluster.command("--help").returncode == 0
    assert cluster.command("status", "--help").returncode == 0
