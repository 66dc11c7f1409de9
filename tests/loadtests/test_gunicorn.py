"""The controls: a steady cluster loses nothing, one that is stopped does and the client sees it."""

from __future__ import annotations

from pathlib import Path

from loadtests.drops import Load, reconcile
from tests.cluster import Cluster
from tests.wait import wait_until


def answered(cluster: Cluster) -> int:
    """The requests that the workers of every slot say they have answered."""
    return sum(slot["requests_total"] for slot in cluster.status()["slots"])


def test_a_stop_is_seen_and_a_steady_cluster_is_clean(tmp_path: Path) -> None:
    environment = {"CLUSTER_WORKERS": "2"}
    with Cluster(tmp_path, app="plain:app", env=environment) as cluster:
        target = f"http://127.0.0.1:{cluster.port}/"
        before = answered(cluster)
        with Load(target, rate=100, duration=1) as steady:
            assert steady.wait(20)
        assert steady.report.failures == {}
        sent = steady.report.sent
        assert steady.report.reused > sent / 4
        wait_until(lambda: answered(cluster) - before >= sent, what="the workers to count")
        agreed = reconcile(sent, steady.report.answered, answered(cluster) - before)
        assert agreed.problem is None
        assert str(agreed) == "client: sent 100, answered 100; server: answered 100"

        with Load(target, rate=100) as load:
            wait_until(lambda: load.report.answered >= 30, what="thirty answers")
            stopping = load.elapsed()
            cluster.stop()
            down = load.elapsed()
            wait_until(lambda: load.elapsed() > down + 0.1, what="requests to meet nobody")
            cluster.start()
            cluster.wait_log("[Master] All workers ready", times=2)
            up = load.elapsed()
            wait_until(lambda: load.elapsed() > up + 0.3, what="requests to be served again")

        report = load.report
        assert report.in_window(0, stopping - 0.1).failures == {}
        assert report.failures["refused"] >= 5
        assert report.in_window(down, down + 0.1).answered == 0
        assert report.in_window(up, report.seconds).failures == {}
        assert report.answered < report.sent
