"""What a start refuses, and what it does with a Gunicorn that it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import ROOT, Cluster


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("--preload", "use CLUSTER_PRELOAD=mold"),
        ("--reuse-port", "leave it off"),
        ("--reload", "use kill -HUP or `smart-factory reload`"),
    ],
)
def test_a_setting_that_breaks_a_promise_is_refused_with_what_to_use_instead(
    tmp_path: Path, argument: str, instead: str
) -> None:
    cluster = Cluster(tmp_path, argument, app="plain:app")
    cluster.start()
    assert cluster.wait_exit() == 2
    assert instead in cluster.log
    assert list(cluster.runtime.iterdir()) == []


def test_a_release_that_hangs_at_the_first_start_ends_it_with_the_stack(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(99)  # here\n")
    env = {"READY_TIMEOUT": "10"}  # long enough to come to the import on a busy machine
    cluster = Cluster(tmp_path / "c", "--chdir", str(tmp_path), "hanging:app", env=env)
    cluster.start()
    assert cluster.wait_exit() == 3
    assert "the release is not loaded within READY_TIMEOUT (10 s)" in cluster.log
    assert 'hanging.py", line 2 in <module>' in cluster.log


def test_a_hup_before_the_first_worker_is_remembered(tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        (ROOT / "gunicorn.conf.py").read_text() + "\nimport signal\nours = on_starting\n"
        "def on_starting(server):\n    ours(server)\n    os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    with Cluster(tmp_path / "c", app="plain:app", config=config) as cluster:
        cluster.wait_log("[Master] Reload complete: 3/3")
        assert cluster.get("/").status == 200


def test_an_unknown_gunicorn_is_said_loudly_and_serves_as_stock(tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "from gunicorn.arbiter import Arbiter\nkept = Arbiter.murder_workers\n"
        + (ROOT / "gunicorn.conf.py").read_text()
        + "\nours = on_starting\ndel Arbiter.murder_workers\n"
        "def on_starting(server):\n    ours(server)\n    Arbiter.murder_workers = kept\n"
    )
    cluster = Cluster(tmp_path / "c", app="plain:app", config=config)
    cluster.start()
    try:
        cluster.wait_log("RUNNING AS STOCK GUNICORN")
        assert "lacks Arbiter.murder_workers" in cluster.log
        cluster.wait_log("Listening at")
        answer = cluster.get("/", timeout=10)
        assert answer.status == 200
        assert answer.json["WORKER_ID"] is None
    finally:
        assert cluster.stop() == 0
