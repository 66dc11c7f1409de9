"""A development start with the real consumers: a payment goes on to its end, and all of it ends.

With stand-ins for the consumers it is tested in `test_companion.py`.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster import Cluster
from tests.integration.test_make_run import postmaster
from tests.processes import runs
from tests.tree import copy_tree
from tests.wait import wait_until

PAYMENT = {
    "provider_payment_id": "pay-of-a-development-start",
    "student_id": "student-1",
    "course_id": "course-1",
    "amount": 120,
}
NAMES = ["purchase", "allocation", "session", "cache"]


class ByHand(Cluster):
    """`gunicorn -c gunicorn.conf.py` in a clone, and commands that are typed there."""

    def __init__(self, tree: Path):
        super().__init__(tree, env={"CLUSTER_WORKERS": "2"})
        self.runtime = tree / "var" / "run"
        self._command = [".venv/bin/gunicorn", "-c", "gunicorn.conf.py"]
        for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "APP_ENV"):
            del self._env[name]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [".venv/bin/python", "-m", "deploy", *words],
            cwd=self.directory,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def consumers(self) -> dict[str, Any]:
        """What `status` says of each; empty while it cannot tell."""
        facts = json.loads(self.command("status", "--json", "--interval", "0").stdout)
        return {each["consumer"]: each for each in facts["consumers"].get("consumers", [])}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ByHand]:
    with ByHand(copy_tree(tmp_path / "clone")) as cluster:
        yield cluster


def test_a_payment_is_consumed_and_one_ctrl_c_ends_it_all(running: ByHand) -> None:
    wait_until(lambda: running.get("/health/ready").status == 200, what="the database")
    running.wait_log("Consumers started")
    answer = running.request("POST", "/api/payments/confirm", body=PAYMENT)
    assert answer.status == 202, answer.body

    def processed() -> bool:
        purchase = running.consumers().get("purchase", {})
        return purchase.get("state") == "running" and bool(purchase["processed"] >= 1)

    wait_until(processed, what="the purchase to be processed", seconds=60)
    assert sorted(running.consumers()) == sorted(NAMES)

    table = running.command("status").stdout
    assert [line.split()[0] for line in table.splitlines()[-len(NAMES) :]] == NAMES, table

    processes = [*running.processes, postmaster(running), *postmaster(running).children()]
    assert any("app.consumers" in process.cmdline() for process in processes)
    assert running.stop(signal.SIGINT) == 0
    assert not any(map(runs, processes))
    assert not running.lines("Consumers did not end|Consumers died|Traceback")


def test_a_killed_master_leaves_no_consumer_and_no_database(running: ByHand) -> None:
    running.wait_log("Consumers started")
    wait_until(lambda: "purchase" in running.consumers(), what="an answer", seconds=60)
    processes: list[psutil.Process] = [*running.processes, postmaster(running)]
    running.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(runs, processes)), what="the end of all", seconds=60)


def test_after_a_reload_they_consume_again(running: ByHand) -> None:
    running.wait_log("Consumers started")
    running.signal(signal.SIGHUP)
    running.wait_log("Consumers started", times=2)
    assert running.request("POST", "/api/payments/confirm", body=PAYMENT).status == 202
    wait_until(
        lambda: running.consumers().get("purchase", {}).get("processed", 0) >= 1,
        what="the purchase to be processed",
        seconds=60,
    )
    assert not running.lines("Consumers did not end|Consumers died")
