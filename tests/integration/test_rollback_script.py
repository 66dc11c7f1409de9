"""deploy/scripts/rollback.sh on a running cluster, also when the release's Python does not run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.state import desired, ledger
from deploy.state.desired import Desired
from deploy.state.lock import operation
from loadtests.drops import Load
from tests.cluster import ROOT, Cluster
from tests.integration.installed_releases import (
    APP,
    SCRIPTS,
    InstalledReleases,
    environment,
    run,
)
from tests.wait import wait_until

OLD, NEW = "20260101-000000-1111111", "20260102-000000-2222222"
SICK = APP.replace(
    '"200 OK", head', '"500 Oops" if environ["PATH_INFO"] == "/health" else "200 OK", head'
)


class Place:
    """An installation with two releases, and the cluster that runs the new one."""

    def __init__(self, directory: Path):
        self.releases = InstalledReleases(directory / "root")
        self.old = self.releases.make(OLD)
        self.new = self.releases.make(NEW)
        self.releases.link("previous", self.old)
        self.releases.link("current", self.new)
        self.cluster = self.releases.cluster(directory / "c")
        self.state = directory / "c" / "state"

    @property
    def env(self) -> dict[str, str]:
        return environment(self.cluster, SMART_FACTORY_ROOT=str(self.releases.root))

    def rollback(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run("rollback.sh", *words, env=self.env)

    def load(self) -> Load:
        return Load(f"http://127.0.0.1:{self.cluster.port}/", rate=100)

    @property
    def size(self) -> tuple[str, int, int]:
        facts = self.cluster.status()
        return facts["mode"], facts["workers"]["wanted"], facts["workers"]["ready"]

    @property
    def served(self) -> str:
        return self.cluster.get("/").body.decode()

    @property
    def links(self) -> tuple[str, str]:
        return self.releases.linked("current"), self.releases.linked("previous")

    def outcomes(self) -> list[tuple[str, str]]:
        """Names and outcomes of the rollbacks."""
        events = ledger.read(self.state, limit=None)
        return [(e["name"], e["outcome"]) for e in events if e["event"] == "rollback"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with made.cluster:
        yield made


def test_one_worker_and_back_without_a_python_and_without_a_lost_request(place: Place) -> None:
    place.releases.break_python(place.new)
    with place.load() as load:
        done = place.rollback("scale", "--why", "out of memory")
        assert (done.returncode, done.stderr) == (0, "")
        assert "ok     processes            1 of 1 workers ready" in done.stdout
        assert "ok     health" in done.stdout
        assert place.size == ("cluster", 1, 1)
        assert place.rollback("scale", "--undo").returncode == 0
        assert place.size == ("cluster", 3, 3)
    assert load.report.failed == 0
    assert place.outcomes() == [
        ("rollback scale", "complete"),
        ("rollback scale --undo", "complete"),
    ]


def test_fork_mode_and_back_without_a_lost_request(place: Place) -> None:
    with place.load() as load:
        assert place.rollback("fork").returncode == 0
        assert place.size == ("fork", 1, 1)
        assert place.rollback("fork", "--undo").returncode == 0
        assert place.size == ("cluster", 3, 3)
    assert load.report.failed == 0
    reloads = [e for e in ledger.read(place.state, limit=None) if e["event"] == "reload"]
    assert [e["why"] for e in reloads] == ["rollback fork", "rollback fork --undo"]


def test_a_reload_that_is_refused_changes_nothing_and_names_the_next_step(place: Place) -> None:
    desired.write(place.state, Desired(mode="cluster", workers=2))
    assert place.cluster.command("scale", "2").returncode == 0
    before = (place.state / "desired.json").read_bytes()
    place.releases.break_python(place.new)
    with place.load() as load:
        pids = place.cluster.pids()
        done = place.rollback("fork")
        assert place.cluster.pids() == pids
    assert load.report.failed == 0
    assert done.returncode == 4
    assert "rollback: fork failed: the reload was refused: " in done.stderr
    assert "rollback.sh release" in done.stderr
    assert (place.state / "desired.json").read_bytes() == before
    assert not (place.state / "desired.before-fork.json").exists()
    assert place.size == ("cluster", 2, 2)
    assert place.outcomes() == [("rollback fork", "rolled back")]


def test_the_previous_release_comes_back_though_the_current_has_no_python(place: Place) -> None:
    place.releases.break_python(place.new)
    with place.load() as load:
        done = place.rollback("release")
        assert (done.returncode, done.stderr) == (0, "")
        assert place.served == OLD
    assert load.report.failed == 0
    assert place.links == (OLD, NEW)
    undone = place.rollback("release", "--undo")
    assert undone.returncode == 6
    assert "no Python that runs" in undone.stderr
    assert place.links == (OLD, NEW)


def test_the_rollback_of_a_release_is_undone(place: Place) -> None:
    assert place.rollback("release").returncode == 0
    assert place.rollback("release", "--undo").returncode == 0
    assert place.served == NEW
    assert place.links == (NEW, OLD)
    assert place.rollback("release", "--undo").returncode == 1


def test_a_previous_release_that_does_not_load_is_refused_and_the_links_return(
    place: Place,
) -> None:
    (place.old / "served.py").write_text("raise RuntimeError('no longer')")
    pids = place.cluster.pids()
    done = place.rollback("release")
    assert done.returncode == 4
    assert "no longer" in done.stderr
    assert place.links == (NEW, OLD)
    assert place.cluster.pids() == pids


def test_a_previous_release_that_is_sick_gives_way_again(place: Place) -> None:
    (place.old / "served.py").write_text(SICK)
    done = place.rollback("release")
    assert done.returncode == 4
    assert "FAILED health               GET /health: status 500 from worker-" in done.stdout
    assert "release failed: health: GET /health: status 500" in done.stderr
    assert place.links == (NEW, OLD)
    assert place.served == NEW
    assert place.outcomes() == [("rollback release", "rolled back")]
    (event,) = [e for e in ledger.read(place.state, limit=None) if e["event"] == "rollback"]
    assert [check["ok"] for check in event["checks"]] == [True, False]


def test_when_the_way_back_is_barred_the_links_say_what_serves(place: Place) -> None:
    (place.old / "served.py").write_text(SICK)
    # The new release's interpreter breaks as soon as it has been left.
    place.releases.break_python(place.new)
    done = place.rollback("release")
    assert done.returncode == 1
    assert "AND WHAT WAS COULD NOT BE PUT BACK" in done.stderr
    assert place.links == (OLD, NEW)
    assert place.served == OLD
    assert place.outcomes() == [("rollback release", "failed")]


def test_an_interrupted_rollback_puts_back_what_was(place: Place) -> None:
    (place.old / "served.py").write_text(f"import time\ntime.sleep(3)\n{APP}")
    process = subprocess.Popen(
        [SCRIPTS / "rollback.sh", "release"],
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "waiting for the outcome" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "interrupted: putting back what was" in said
    assert place.links == (NEW, OLD)
    assert place.served == NEW
    assert place.outcomes() == [("rollback release", "rolled back")]


def test_another_operation_keeps_it_out(place: Place) -> None:
    with operation(place.state, "a test"):
        done = place.rollback("release")
    assert done.returncode == 5
    assert "'a test'" in done.stderr
    assert place.links == (NEW, OLD)


def test_a_master_that_died_is_started_again_from_the_previous_release(place: Place) -> None:
    place.cluster.stop()
    place.releases.break_python(place.new)
    env = {**place.env, "WSGI_APP": "served:app", "CLUSTER_WORKERS": "2", "APP_ENV": "test"}
    done = run("rollback.sh", "release", env=env)
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert "2 of 2 workers ready" in done.stdout
        assert place.links == (OLD, NEW)
        assert place.served == OLD
        with operation(place.state, "a test"):  # the service does not hold the script's lock
            pass
    finally:
        assert run("stop.sh", env=env).returncode == 0


def test_a_session_outlives_the_rollback_on_every_worker(tmp_path: Path, database_url: str) -> None:
    env = {"DATABASE_URL": database_url}
    with Cluster(tmp_path, "--chdir", str(ROOT), env=env) as cluster:
        wait_until(lambda: cluster.get("/health/ready").status == 200, what="the database")
        (tmp_path / "root/releases").mkdir(parents=True)
        where = environment(cluster, SMART_FACTORY_ROOT=str(tmp_path / "root"))
        for words in (["fork"], ["fork", "--undo"]):
            done = run("rollback.sh", *words, env=where)
            assert (done.returncode, done.stderr) == (0, "")
            assert "ok     session              the one opened before: an answer" in done.stdout
        assert "worker-1 worker-2 worker-3" in done.stdout
        (*_, event) = ledger.read(tmp_path / "state", limit=None)
        assert {check["name"] for check in event["checks"]} == {"processes", "health", "session"}
        assert json.dumps(event["checks"]).count('"ok": true') == 3


def test_a_lost_session_is_seen_and_the_change_taken_back(tmp_path: Path) -> None:
    """Each release keeps sessions of its own, as a release with another SECRET_KEY would."""
    app = APP.replace(
        "    head = [",
        '    if environ["PATH_INFO"] == "/api/preferences":\n'
        '        length = int(environ.get("CONTENT_LENGTH") or 0)\n'
        '        sent = environ["wsgi.input"].read(length)\n'
        '        known = environ.get("HTTP_COOKIE", "").partition(RELEASE)[2].encode()\n'
        "        body = sent or known\n"
        "    head = [",
    ).replace(
        '"200 OK", head',
        '"200 OK", [*head, ("Set-Cookie", f"s={RELEASE}{body.decode()}; Path=/")]',
    )
    place = Place(tmp_path)
    for release in (place.old, place.new):
        (release / "served.py").write_text(app)
    with place.cluster:
        kept = place.rollback("scale")
        assert kept.returncode == 0
        assert "ok     session" in kept.stdout
        done = place.rollback("release")
        assert done.returncode == 4
        assert "does not know the session opened before" in done.stdout
        assert place.served == NEW
