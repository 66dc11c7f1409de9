"""Machines to try the kit on: `bare_machine` without it, `machine` with it running."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster import ROOT
from tests.system.container import Container
from tests.system.rootfs import rootfs

SOURCE = "/srv/source"
DATABASE_URL = "postgresql:///smart-factory?host=/run/postgresql&user=smart-factory"
_DATABASE = """
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin smart-factory
runuser -u postgres -- createuser smart-factory
runuser -u postgres -- createdb --owner=smart-factory smart-factory
"""
_COMMITTED = """
cd /srv/source
git config --global user.name Operator
git config --global user.email operator@example.org
git init --quiet
git add --all
git commit --quiet --message released
"""

_TIMEOUT_SECONDS = 600  # the first test of a file boots, and maybe installs


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def debian() -> Path:
    """The layer of every machine: Debian 13 with Postgres and the wheels."""
    return rootfs()


@pytest.fixture(scope="module")
def bare_machine(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A machine with a database for us and this tree in /srv/source, and nothing of ours."""
    with _booted([debian], tmp_path_factory.mktemp("machine")) as container:
        _prepare(container)
        yield container


@pytest.fixture(scope="module")
def machine(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A machine with three workers serving on port 3000, installed as the README says."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then that is one process's own part of the run's
        shared = shared.parent
    layers = [_installed(debian, shared), debian]
    with _booted(layers, tmp_path_factory.mktemp("machine")) as container:
        container.systemctl("start", "smart-factory.service")
        yield container


@contextlib.contextmanager
def _booted(layers: Sequence[Path], directory: Path) -> Iterator[Container]:
    """A container of which nothing is left."""
    with Container(layers, directory) as container:
        yield container
    shutil.rmtree(directory)


def _installed(debian: Path, shared: Path) -> Path:
    """The layer with the installation, made by the first of this run's test processes."""
    directory = shared / "installed"
    done = shared / "installed.done"
    with (shared / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)  # another process may have failed at it
            with Container([debian], directory) as container:
                _prepare(container)
                container.run(
                    f"{SOURCE}/deploy/scripts/install.sh",
                    env={"DATABASE_URL": DATABASE_URL, "CLUSTER_WORKERS": "3"},
                    timeout=600,
                )
            done.touch()
    return directory / "upper"


def _prepare(container: Container) -> None:
    container.wait("pg_isready --quiet", what="Postgres")
    container.sh(_DATABASE)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    names = [name for name in listed.split(b"\0") if name and (ROOT / name.decode()).exists()]
    archive = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"],
        cwd=ROOT,
        input=b"\0".join(names),
        capture_output=True,
        check=True,
    ).stdout
    target = container.path(SOURCE)
    target.mkdir(parents=True)
    subprocess.run(
        ["tar", "--extract", "--no-same-owner", "--directory", str(target)],
        input=archive,
        capture_output=True,
        check=True,
    )
    container.sh(_COMMITTED)
