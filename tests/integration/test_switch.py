"""`switch`: from cluster to fork mode and back, without a request lost."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from deploy.state import desired
from deploy.state.lock import operation
from deploy.state.scoreboard import Scoreboard
from loadtests.drops import Load
from tests.cluster import Cluster
from tests.deploy.test_ops_cluster import Place
from tests.wait import wait_until

RATE = 100


def size(cluster: Cluster) -> tuple[str, int, int]:
    facts = cluster.status()
    return facts["mode"], facts["workers"]["wanted"], facts["workers"]["ready"]


def test_no_request_and_no_session_is_lost_from_cluster_to_fork_and_back(
    tmp_path: Path, database_url: str
) -> None:
    env = {"DATABASE_URL": database_url}
    with (
        Cluster(tmp_path, "--chdir", str(Path.cwd()), env=env) as cluster,
        Load(f"http://127.0.0.1:{cluster.port}/health", rate=RATE, timeout=60) as load,
    ):
        for mode, workers in (("fork", 1), ("cluster", 3)):
            done = cluster.command("switch", mode, "--why", "to see")
            assert done.returncode == 0, done.stdout + done.stderr
            assert size(cluster) == (mode, workers, workers)
            assert "ok     session    opened before the change: valid from " in done.stdout
        [last] = json.loads(
            cluster.command("history", "-n", "1", "--event", "switch", "--json").stdout
        )
    assert load.report.answered > RATE
    assert load.report.failed == 0, load.report
    assert (last["outcome"], last["why"], last["name"]) == ("complete", "to see", "switch cluster")
    names = [check["name"] for check in last["checks"]]
    assert names == ["processes", "health", "session", "journal", "cpu"]


def test_the_mode_is_kept_across_a_restart_and_beside_the_number(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="plain:app")
    with cluster:
        assert cluster.command("scale", "2").returncode == 0
        assert cluster.command("switch", "fork").returncode == 0
    cluster.log_file = tmp_path / "second.log"
    with cluster:
        assert size(cluster) == ("fork", 1, 1)
        assert cluster.command("switch", "cluster").returncode == 0
        assert size(cluster) == ("cluster", 2, 2)


def test_the_mode_that_runs_already_is_validated_and_not_reloaded(cluster: Cluster) -> None:
    before = cluster.pids()
    done = cluster.command("switch", "cluster")
    assert done.returncode == 0
    assert done.stdout.startswith("Nothing to change: cluster mode already\nok     processes")
    assert cluster.pids() == before


def test_a_cluster_that_does_not_run_keeps_the_mode_for_its_start(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="plain:app")
    done = cluster.command("switch", "fork")
    assert done.returncode == 0
    assert done.stdout.startswith("smart-factory is not running: fork mode from its next start on")
    with cluster:
        assert size(cluster) == ("fork", 1, 1)


def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    before = cluster.pids()
    done = cluster.command("switch", "fork", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "Switch fork would:"
    assert "reload" in done.stdout
    assert cluster.pids() == before
    assert not (cluster.directory / "state" / desired.FILE).exists()


def test_a_refused_reload_leaves_all_as_it_was_and_is_code_4(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    code = app / "served.py"
    code.write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n"
    )
    with Cluster(tmp_path / "c", "--chdir", str(app), "served:app") as cluster:
        assert cluster.command("scale", "2").returncode == 0
        kept = (cluster.directory / "state" / desired.FILE).read_bytes()
        before = cluster.pids()
        code.write_text("raise RuntimeError('this release does not load')\n")
        with Load(f"http://127.0.0.1:{cluster.port}/", rate=RATE, timeout=60) as load:
            done = cluster.command("switch", "fork")
        assert done.returncode == 4, done.stdout + done.stderr
        assert "RuntimeError: this release does not load" in done.stdout  # the traceback
        assert done.stderr.startswith("Error: switch fork was rolled back (the reload was refused")
        assert "the former state serves again" in done.stderr
        assert (cluster.pids(), size(cluster)) == (before, ("cluster", 2, 2))
        assert (cluster.directory / "state" / desired.FILE).read_bytes() == kept
    assert load.report.failed == 0, load.report


def test_a_validation_that_fails_brings_the_former_mode_back(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, app="moody:app") as cluster,
        Load(f"http://127.0.0.1:{cluster.port}/", rate=RATE, timeout=60) as load,
    ):
        done = cluster.command("switch", "fork", "--json")
        assert done.returncode == 4, done.stdout + done.stderr
        facts = json.loads(done.stdout)
        assert facts["outcome"] == "rolled back"
        assert "health: GET /health: 200? worker-1 answered 500" in facts["reason"]
        assert [check["ok"] for check in facts["checks"]][:2] == [True, False]
        assert size(cluster) == ("cluster", 3, 3)
        assert desired.read(tmp_path / "state").mode is None
        history = cluster.command("history", "--json", "--event", "switch").stdout
        assert [event["outcome"] for event in json.loads(history)] == ["rolled back"]
    assert load.report.failed == 0, load.report


def test_ctrl_c_brings_the_former_mode_back(tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text("")
    with Cluster(tmp_path, app="moody:app", env={"ENV_FILE": str(file)}) as cluster:
        before = cluster.pids()
        file.write_text("BOOT_SECONDS=2\n")
        command = Place(tmp_path).start("switch", "fork")
        board = Scoreboard.open(cluster.runtime / "scoreboard")
        # It has read the file then, and takes the two seconds.
        wait_until(lambda: board.reload().phase.endswith(" loads"), what="the candidate to load")
        board.close()
        file.write_text("")
        command.send_signal(signal.SIGINT)
        said, error = command.communicate(timeout=60)
        assert command.returncode == 130, said + error
        assert "Putting the former state back" in said
        assert error.startswith("Error: switch fork was rolled back (interrupted); the former")
        assert size(cluster) == ("cluster", 3, 3)
        assert desired.read(tmp_path / "state").mode is None
        assert cluster.pids().keys() == before.keys()


def test_one_operation_at_a_time(cluster: Cluster) -> None:
    with operation(cluster.directory / "state", "a test"):
        for words in (["switch", "fork"], ["rollback", "scale"]):
            done = cluster.command(*words)
            assert done.returncode == 5
            assert "a test" in done.stderr
    assert size(cluster) == ("cluster", 3, 3)


@pytest.mark.parametrize("words", [[], ["forks"], ["fork", "--timeout", "0"], ["fork", "x"]])
def test_wrong_usage_is_code_2(tmp_path: Path, words: list[str]) -> None:
    done = Place(tmp_path).run("switch", *words)
    assert done.returncode == 2
    assert not (tmp_path / "state").exists()
