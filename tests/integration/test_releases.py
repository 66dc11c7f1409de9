"""Releases behind a link: their own code, dependencies, configuration and interpreter."""

from __future__ import annotations

import os
import signal
import sysconfig
import venv
from pathlib import Path

import pytest

from loadtests.drops import Load
from tests.cluster import ROOT, Cluster
from tests.wait import wait_until

APP = """
import sys
import dependency
def app(environ, start_response):
    body = f"{dependency.VERSION} {sys.prefix}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Releases:
    """Releases one, two, … in a folder, and the link `current` to one of them."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.current = directory / "current"

    def make(self, name: str, app: str = APP) -> Path:
        """A release with a virtual environment of its own, in which `dependency` is its own."""
        release = self.directory / name
        venv.create(release / ".venv", symlinks=True)
        packages = next((release / ".venv" / "lib").glob("python*/site-packages"))
        # Everything else comes from the environment that runs the tests.
        (packages / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
        (packages / "dependency.py").write_text(f"VERSION = {name!r}\n")
        (release / "served.py").write_text(app)
        (release / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
        return release

    def point(self, release: Path) -> None:
        """Has `current` lead to the release, from one moment to the next."""
        new = self.directory / "new"
        new.symlink_to(release.name)
        new.rename(self.current)

    def cluster(self) -> Cluster:
        """Started through the link, as a unit file would."""
        return Cluster(
            self.directory / "c",
            *("--chdir", str(self.current), "served:app"),
            program=[str(self.current / ".venv" / "bin" / "python"), "-m", "gunicorn"],
            config=self.current / "gunicorn.conf.py",
            env={"LOG_LEVEL": "info"},
        )


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path)


def served(cluster: Cluster) -> str:
    return cluster.get("/").body.decode()


def test_a_reload_brings_the_code_dependencies_and_interpreter_the_link_leads_to(
    releases: Releases,
) -> None:
    one, two = releases.make("one"), releases.make("two")
    releases.point(one)
    with releases.cluster() as cluster:
        assert served(cluster) == f"one {one / '.venv'}"
        releases.point(two)
        assert cluster.reload().returncode == 0
        assert served(cluster) == f"two {two / '.venv'}"
        (mold,) = cluster.titled("mold gen 2")
        assert Path(f"/proc/{mold}/cwd").readlink() == two


def test_a_relative_configuration_is_found_again_beside_another_directory(tmp_path: Path) -> None:
    """Gunicorn changes to --chdir after it has read what is relative to where it was started."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "served.py").write_text(
        "def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n"
    )
    start = tmp_path / "start"
    start.mkdir()
    (start / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
    (start / ".env").write_text("THREADS=2\n")
    env = {"RUNTIME_DIRECTORY": "", "STATE_DIRECTORY": ""}
    cluster = Cluster(
        start, "--chdir", "../code", "served:app", config=Path("gunicorn.conf.py"), env=env
    )
    cluster.runtime = start / "var" / "run"
    cluster.start()
    try:
        cluster.wait_log("[Master] All workers ready")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("[Master] Reload complete: 3/3")
        assert "takes effect at the next start" not in cluster.log
        os.kill(cluster.titled("mold gen 2")[0], signal.SIGKILL)
        cluster.wait_log("is loaded (mold", times=2)
        cluster.signal(signal.SIGUSR2)
        cluster.wait_log("[Master] All workers ready", times=3)
        os.kill(int((cluster.runtime / "gunicorn.pid.2").read_text()), signal.SIGTERM)
        wait_until(lambda: not (cluster.runtime / "gunicorn.pid.2").exists(), what="its end")
        assert cluster.get("/").status == 200
    finally:
        cluster.stop()


def test_a_missing_interpreter_is_refused(releases: Releases) -> None:
    one, two = releases.make("one"), releases.make("two")
    (two / ".venv" / "bin" / "python").unlink()
    releases.point(one)
    with releases.cluster() as cluster, Load(f"http://127.0.0.1:{cluster.port}/"):
        before = cluster.pids()
        releases.point(two)
        done = cluster.reload()
        assert done.returncode == 1
        assert (
            f"the release's interpreter {releases.current}/.venv/bin/python does not" in done.stderr
        )
        assert cluster.pids() == before


def test_a_missing_dependency_is_refused_even_when_it_is_gunicorn_itself(
    releases: Releases,
) -> None:
    one, two = releases.make("one"), releases.make("two")
    packages = next((two / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "shared.pth").unlink()
    releases.point(one)
    with releases.cluster() as cluster:
        before = cluster.pids()
        releases.point(two)
        done = cluster.reload()
        assert done.returncode == 1
        assert "ModuleNotFoundError" in done.stderr
        assert cluster.pids() == before


def test_a_dead_mold_is_rebuilt_from_its_own_release_wherever_the_link_leads(
    releases: Releases,
) -> None:
    one, two = releases.make("one"), releases.make("two", app="raise RuntimeError('broken')")
    releases.point(one)
    with releases.cluster() as cluster:
        releases.point(two)
        assert cluster.reload().returncode == 1
        os.kill(cluster.titled("mold gen 1")[0], signal.SIGKILL)
        cluster.wait_log("is loaded (mold", times=2)
        os.kill(cluster.pids()["worker-1"], signal.SIGKILL)
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
        assert served(cluster).startswith("one ")


def test_a_mold_that_cannot_be_rebuilt_is_named_and_tried_again(releases: Releases) -> None:
    one = releases.make("one")
    releases.point(one)
    with releases.cluster() as cluster:
        before = cluster.pids()
        (one / "served.py").rename(one / "away.py")
        os.kill(cluster.titled("mold gen 1")[0], signal.SIGKILL)

        def told() -> bool:  # a canary that the mold took with it may be told of first
            status = cluster.status()
            named = "the mold cannot be rebuilt" in (status["detail"] or "")
            return status["state"] == "degraded" and named

        wait_until(told, what="status to say so", seconds=60)
        assert cluster.pids() == before
        (one / "away.py").rename(one / "served.py")
        wait_until(lambda: cluster.status()["state"] == "ready", what="the mold", seconds=60)


def test_a_release_whose_kit_speaks_another_protocol_is_told_to_restart(
    releases: Releases,
) -> None:
    one, two = releases.make("one"), releases.make("two")
    packages = next((two / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "later.pth").write_text("import deploy.cluster.protocol as p; p.VERSION = 99\n")
    releases.point(one)
    with releases.cluster() as cluster:
        releases.point(two)
        done = cluster.reload()
        assert done.returncode == 1
        assert "speaks protocol 99, this master 1: restart to upgrade the kit" in done.stderr


def test_the_master_keeps_nothing_of_configuration_or_application(releases: Releases) -> None:
    one, two = releases.make("one"), releases.make("two")
    for release in (one, two):
        config = release / "gunicorn.conf.py"
        config.write_text(
            config.read_text() + "\nimport dependency\nproc_name = dependency.VERSION\n"
        )
    releases.point(one)
    with releases.cluster() as cluster:
        assert "[one]" in " ".join(cluster_title(cluster))
        releases.point(two)
        assert cluster.reload().returncode == 0
        assert served(cluster).startswith("two ")


def cluster_title(cluster: Cluster) -> list[str]:
    return Path(f"/proc/{cluster.pid}/cmdline").read_text().split("\0")
