"""`validate` on real clusters: what it finds, and what it lets pass."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from deploy.ops import operation
from deploy.ops.change import Expected, Say
from deploy.ops.check import Check
from deploy.ops.directories import Directories
from deploy.ops.operation import RolledBackError
from deploy.ops.service import Service
from tests.cluster import Cluster
from tests.wait import wait_until


def validated(cluster: Cluster, code: int) -> dict[str, dict[str, Any]]:
    """The checks by name."""
    done = cluster.command("validate", "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_our_application_is_well_and_a_session_is_known_to_every_worker(
    tmp_path: Path, database_url: str
) -> None:
    env = {"DATABASE_URL": database_url}
    with Cluster(tmp_path, "--chdir", str(Path.cwd()), env=env) as cluster:
        checks = validated(cluster, 0)
        assert checks["processes"]["detail"] == "3 of 3 workers ready, no other process of ours"
        for name, what in (("health", "GET /health: 200"), ("session", "opened here: valid")):
            assert checks[name]["ok"] is True
            assert checks[name]["detail"].startswith(f"{what} from each of 3 workers, ")
        assert checks["journal"]["ok"] is True

        done = cluster.command("validate", "--why", "a look")
        assert done.returncode == 0
        assert [line.split()[1] for line in done.stdout.splitlines()] == [*checks]
        events = json.loads(cluster.command("history", "--json", "--event", "validate").stdout)
        assert [event["outcome"] for event in events] == ["complete", "complete"]
        assert events[-1]["why"] == "a look"


def test_a_session_that_only_one_worker_knows_is_found(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="moody:forgetful") as cluster:
        checks = validated(cluster, 1)
    assert checks["session"]["ok"] is False
    assert checks["session"]["detail"].endswith(" does not know the session")
    assert checks["health"]["ok"] is True


def test_an_application_without_health_and_names_is_asked_for_its_front_page(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, app="moody:without_health") as cluster:
        checks = validated(cluster, 0)
    assert checks["health"]["detail"].startswith("GET /: no error from each of 3 workers, ")
    assert checks["session"]["ok"] is None


def test_a_degraded_service_is_not_well(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"READY_PATH": "/boom"}) as cluster:
        wait_until(lambda: cluster.status()["failing"], what="the failing check")
        checks = validated(cluster, 1)
    assert checks["processes"]["ok"] is False
    assert checks["processes"]["detail"].startswith("degraded: ")


def test_a_worker_that_hangs_is_found(tmp_path: Path) -> None:
    # One listener and one worker: nobody else answers for it.
    with Cluster(tmp_path, app="plain:app", env={"CLUSTER_WORKERS": "1"}) as cluster:
        pid = cluster.pids()["worker-1"]
        os.kill(pid, signal.SIGSTOP)
        checks = validated(cluster, 1)
        os.kill(pid, signal.SIGCONT)
    assert checks["health"]["ok"] is False
    assert "timed out" in checks["health"]["detail"]


def test_a_cluster_that_does_not_run_is_code_3(tmp_path: Path) -> None:
    assert Cluster(tmp_path, app="plain:app").command("validate").returncode == 3


class Nothing:
    """A change of nothing, after which something is expected."""

    name = "release nothing"

    def __init__(self, expected: Expected):
        self.reverted = False
        self._expected = expected

    def plan(self) -> list[str]:
        return []

    def carry_out(self, say: Say) -> None:
        pass

    def expected(self) -> Expected:
        return self._expected

    def revert(self, say: Say) -> None:  # noqa: ARG002 - as the protocol has it
        self.reverted = True


def ill(_: Service) -> list[Check]:
    return [Check(name="bake", ok=False, detail="2 crashes")]


def well(_: Service) -> list[Check]:
    return [Check(name="bake", ok=True, detail="0 crashes")]


@pytest.mark.parametrize(
    ("expected", "watch", "reason"),
    [
        (Expected(release="another"), well, "not another"),
        (Expected(), ill, "it did not stay well: bake: 2 crashes"),
        (Expected(workers=3, mode="cluster"), well, ""),
    ],
)
def test_what_is_not_as_expected_or_does_not_stay_well_is_taken_back(
    tmp_path: Path, expected: Expected, watch: operation.Watch, reason: str
) -> None:
    change = Nothing(expected)
    # It drains for GRACEFUL_TIMEOUT at most: no longer is a release waited for.
    environ = {"GRACEFUL_TIMEOUT": "1"}
    directories = Directories(runtime=tmp_path / "run", state=tmp_path / "state", environ=environ)
    with Cluster(tmp_path, app="plain:app"):
        raised = None
        try:
            operation.run(change, directories, why="", dry_run=False, as_json=True, watch=watch)
        except RolledBackError as error:
            raised = error
    assert change.reverted is bool(reason)
    assert (raised is not None) is bool(reason)
    assert raised is None or reason in raised.message
