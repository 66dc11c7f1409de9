"""How many workers: what an operator asked for is kept across reload and restart."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.wait import wait_until


def wanted(cluster: Cluster) -> tuple[int, int]:
    workers = cluster.status()["workers"]
    return workers["wanted"], workers["ready"]


def test_a_number_that_was_asked_for_is_kept_across_reload_and_restart(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="plain:app")
    with cluster:
        done = cluster.command("scale", "5")
        assert (done.returncode, done.stdout.strip()) == (
            0,
            "Scaled from 3 to 5 workers: 5/5 ready",
        )
        assert cluster.reload().returncode == 0
        assert wanted(cluster) == (5, 5)
        assert cluster.command("scale", "-1").returncode == 0
    cluster.log_file = tmp_path / "second.log"
    with cluster:
        assert "with 4 worker(s)" in cluster.log
        assert wanted(cluster) == (4, 4)
        assert cluster.command("scale", "--reset").returncode == 0
        assert wanted(cluster) == (3, 3)
        events = json.loads(cluster.command("history", "--event", "scale", "--json").stdout)
        assert [(e["before"], e["workers"]) for e in events] == [(3, 5), (5, 4), (4, 3)]


def test_ttin_is_kept_across_a_reload(cluster: Cluster) -> None:
    cluster.signal(signal.SIGTTIN)
    cluster.wait_log("[Master] Worker 4 (worker-4) is ready [4/4]")
    cluster.signal(signal.SIGHUP)
    cluster.wait_log("[Master] Reload complete: 4/4 on release")
    assert wanted(cluster) == (4, 4)


def test_it_wins_over_gunicorns_own_argument_from_then_on(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--workers", "2", app="plain:app") as cluster:
        assert cluster.command("scale", "+1").returncode == 0
        assert cluster.reload().returncode == 0
        assert wanted(cluster) == (3, 3)


@pytest.mark.parametrize(("asked", "code"), [("0", 2), ("-3", 2), ("abc", 2), ("513", 2)])
def test_a_number_that_is_not_allowed_changes_nothing(
    cluster: Cluster, asked: str, code: int
) -> None:
    done = cluster.command("scale", asked)
    assert done.returncode == code
    assert asked in done.stderr
    assert wanted(cluster) == (3, 3)


def test_ttou_never_goes_below_one(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"CLUSTER_WORKERS": "2"}) as cluster:
        cluster.signal(signal.SIGTTOU)
        cluster.wait_log("[Master] Workers: 2 before, 1 now")
        cluster.signal(signal.SIGTTOU)
        cluster.wait_log("Handling signal: ttou", times=2)
        assert wanted(cluster) == (1, 1)


def test_fork_mode_stays_at_one_worker(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"CLUSTER_MODE": "fork"}) as cluster:
        cluster.signal(signal.SIGTTIN)
        cluster.wait_log("[Master] signal TTIN ignored: fork mode runs one worker")
        assert cluster.command("scale", "2").returncode == 2
        assert wanted(cluster) == (1, 1)


def test_a_damaged_desired_state_is_named_and_the_service_starts(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "desired.json").write_text('{"workers": "many"}')
    with Cluster(tmp_path, app="plain:app") as cluster:
        assert "desired.json: workers='many': expected an integer from 1 to" in cluster.log
        assert wanted(cluster) == (3, 3)


def test_a_reload_follows_the_number_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text("CLUSTER_WORKERS=2\n")
    env = {"ENV_FILE": str(file), "CLUSTER_WORKERS": ""}
    with Cluster(tmp_path / "c", app="plain:app", env=env) as cluster:
        for workers in (4, 1, 3):
            file.write_text(f"CLUSTER_WORKERS={workers}\n")
            assert cluster.reload().returncode == 0
            cluster.wait_log(f"[Master] Reload complete: {workers}/{workers} on release")
            wait_until(lambda w=workers: wanted(cluster) == (w, w), what="that many")  # type: ignore[misc]


def test_one_operation_at_a_time(cluster: Cluster) -> None:
    from deploy.state.lock import operation

    with operation(cluster.directory / "state", "a test"):
        for words in (["scale", "4"], ["reload"]):
            done = cluster.command(*words)
            assert done.returncode == 5
            assert "a test" in done.stderr
    assert cluster.command("scale", "4").returncode == 0
