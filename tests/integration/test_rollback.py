"""`rollback scale`, `rollback fork` and their undoing, without a request lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.ops import systemd
from deploy.state import desired
from deploy.state.desired import Desired
from loadtests.drops import Load
from tests.cluster import Cluster
from tests.deploy.test_ops_cluster import Place
from tests.integration.test_switch import RATE, size


def kept(cluster: Cluster, name: str) -> Path:
    return cluster.directory / "state" / f"desired.before-{name}.json"


def test_no_request_is_lost_by_steps_back_and_their_undoing(cluster: Cluster) -> None:
    steps = [
        (["scale"], ("cluster", 1, 1)),
        (["scale", "--undo"], ("cluster", 3, 3)),
        (["fork"], ("fork", 1, 1)),
        (["fork", "--undo"], ("cluster", 3, 3)),
    ]
    with Load(f"http://127.0.0.1:{cluster.port}/", rate=RATE) as load:
        for words, expected in steps:
            done = cluster.command("rollback", *words)
            assert done.returncode == 0, done.stdout + done.stderr
            assert size(cluster) == expected
            assert kept(cluster, words[0]).exists() is (len(words) == 1)
    assert load.report.answered > RATE
    assert load.report.failed == 0, load.report
    history = json.loads(cluster.command("history", "--json", "--event", "rollback").stdout)
    assert [event["name"] for event in history] == [
        f"rollback {' '.join(words)}" for words, _ in steps
    ]
    assert desired.read(cluster.directory / "state") == Desired()


def test_what_was_asked_for_comes_back_to_the_letter(cluster: Cluster) -> None:
    assert cluster.command("scale", "2").returncode == 0
    file = cluster.directory / "state" / desired.FILE
    before = file.read_bytes()
    assert cluster.command("rollback", "scale").returncode == 0
    assert kept(cluster, "scale").read_bytes() == before
    # A second time keeps what was before the first.
    assert cluster.command("rollback", "scale").returncode == 0
    assert kept(cluster, "scale").read_bytes() == before
    assert cluster.command("rollback", "scale", "--undo").returncode == 0
    assert file.read_bytes() == before
    assert size(cluster) == ("cluster", 2, 2)


def test_one_step_in_the_other_is_undone_in_any_order(cluster: Cluster) -> None:
    for name in ("scale", "fork"):
        assert cluster.command("rollback", name).returncode == 0
    assert size(cluster) == ("fork", 1, 1)
    assert cluster.command("rollback", "scale", "--undo").returncode == 0
    assert size(cluster) == ("cluster", 3, 3)  # as it was before `rollback scale`
    assert cluster.command("rollback", "fork", "--undo").returncode == 0
    assert size(cluster) == ("cluster", 1, 1)  # as it was before `rollback fork`


@pytest.mark.parametrize("name", ["scale", "fork"])
def test_nothing_to_undo_is_code_1(tmp_path: Path, name: str) -> None:
    done = Place(tmp_path).run("rollback", name, "--undo")
    assert done.returncode == 1
    error, step = done.stderr.splitlines()
    assert (
        error == f"Error: nothing to undo: there is no {tmp_path}/state/desired.before-{name}.json"
    )
    assert step == f"Next step: it is kept by: smart-factory rollback {name}"


def test_a_validation_that_fails_puts_everything_back(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="moody:app") as cluster:
        done = cluster.command("rollback", "fork")
        assert done.returncode == 4, done.stdout + done.stderr
        assert size(cluster) == ("cluster", 3, 3)
        assert not kept(cluster, "fork").exists()
        assert desired.read(tmp_path / "state") == Desired()


def test_an_undoing_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    env = {"CLUSTER_MODE": "fork"}
    cluster = Cluster(tmp_path, app="moody:app", env=env)
    state = tmp_path / "state"
    desired.write(state, Desired(mode="cluster", workers=2))
    (state / "desired.before-fork.json").write_text("{}\n")  # fork mode, in which it is ill
    before = (state / desired.FILE).read_bytes()
    with cluster:
        done = cluster.command("rollback", "fork", "--undo")
        assert done.returncode == 4, done.stdout + done.stderr
        assert size(cluster) == ("cluster", 2, 2)
    assert (state / desired.FILE).read_bytes() == before
    assert (state / "desired.before-fork.json").read_text() == "{}\n"


def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    done = cluster.command("rollback", "scale", "--dry-run", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["steps"][0] == (
        "keep a copy of desired.json as desired.before-scale.json"
    )
    assert size(cluster) == ("cluster", 3, 3)
    assert not kept(cluster, "scale").exists()


def test_a_cluster_that_does_not_run_follows_at_its_start(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, app="plain:app")
    assert cluster.command("rollback", "scale").returncode == 0
    with cluster:
        assert size(cluster) == ("cluster", 1, 1)
        assert cluster.command("rollback", "scale", "--undo").returncode == 0
        assert size(cluster) == ("cluster", 3, 3)


def test_a_copy_that_is_damaged_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.state.mkdir()
    (place.state / "desired.before-scale.json").write_text("{")
    done = place.run("rollback", "scale", "--undo")
    assert done.returncode == 1
    assert "desired.before-scale.json: damaged" in done.stderr
    assert desired.read(place.state) == Desired()


@pytest.mark.skipif(systemd.booted(), reason="for machines without systemd")
@pytest.mark.parametrize("words", [["bare"], ["bare", "--undo"], ["bare", "--dry-run"]])
def test_bare_without_systemd_is_code_2(tmp_path: Path, words: list[str]) -> None:
    done = Place(tmp_path).run("rollback", *words)
    assert done.returncode == 2
    error, step = done.stderr.splitlines()
    assert error.endswith("this machine does not run systemd")
    assert step.startswith("Next step: use `smart-factory rollback fork`")


@pytest.mark.parametrize("words", [[], ["everything"], ["scale", "3"]])
def test_wrong_usage_is_code_2(tmp_path: Path, words: list[str]) -> None:
    assert Place(tmp_path).run("rollback", *words).returncode == 2
