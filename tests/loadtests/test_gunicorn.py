"""The controls: a steady cluster loses nothing, one that is stopped does and the client sees it."""

from __future__ import annotations

import math
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
        # Long enough for connections to be used again also after a stall.
        with Load(target, rate=100, duration=3) as steady:
            assert steady.wait(60)
        assert steady.report.failures == {}
        sent = steady.report.sent
        assert steady.report.reused > sent / 8
        wait_until(lambda: answered(cluster) - before >= sent, what="the workers to count")
        agreed = reconcile(sent, steady.report.answered, answered(cluster) - before)
        assert agreed.problem is None
        assert str(agreed) == "client: sent 300, answered 300; server: answered 300"

        with Load(target, rate=100) as load:
            wait_until(lambda: load.report.answered >= 30, what="thirty answers")
            before_stop = load.report
            cluster.stop()
            down = load.elapsed()
            wait_until(
                lambda: load.report.in_window(down, math.inf).failures.get("refused", 0) >= 5,
                what="requests to meet nobody",
            )
            while_down = load.report.in_window(down, math.inf)
            cluster.start()
            cluster.wait_log("[Master] All workers ready", times=2)
            up = load.elapsed()
            wait_until(lambda: load.elapsed() > up + 0.3, what="requests to be served again")

        report = load.report
        assert before_stop.failures == {}
        assert while_down.answered == 0
        assert report.in_window(up, report.seconds).failures == {}
        assert report.answered < report.sent
