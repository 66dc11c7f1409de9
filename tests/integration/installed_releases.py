"""An installation as on a machine: ROOT/releases/ID, and the links `current` and `previous`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import ROOT, Cluster

SCRIPTS = ROOT / "deploy" / "scripts"
# Serves any path; says which release it is of, and who it is.
APP = """
import os
from pathlib import Path

RELEASE = Path(__file__).resolve().parent.name

def app(environ, start_response):
    body = RELEASE.encode()
    head = [("Content-Length", str(len(body))), ("X-Worker-ID", os.environ["WORKER_ID"])]
    start_response("200 OK", head)
    return [body]
"""
_NOT_INHERITED = (
    "CLUSTER_MODE",
    "CLUSTER_WORKERS",
    "BIND",
    "HOST",
    "PORT",
    "ENV_FILE",
    "LOG_LEVEL",
)


class InstalledReleases:
    """The releases in a folder of the test's own."""

    def __init__(self, root: Path):
        self.root = root
        (root / "releases").mkdir(parents=True)

    def make(self, name: str, app: str = APP) -> Path:
        """A release with the kit, which runs in the virtual environment that runs the tests."""
        release = self.root / "releases" / name
        release.mkdir()
        shutil.copytree(ROOT / "deploy", release / "deploy")
        shutil.copy2(ROOT / "gunicorn.conf.py", release)
        (release / "served.py").write_text(app)
        (release / ".venv").symlink_to(ROOT / ".venv")
        return release

    def break_python(self, release: Path) -> None:
        """Leaves the release a virtual environment in which nothing runs."""
        (release / ".venv").unlink()
        (release / ".venv/bin").mkdir(parents=True)
        for name in ("python", "gunicorn"):
            program = release / ".venv/bin" / name
            program.write_text("#!/bin/sh\necho 'Fatal Python error: nothing works' >&2\nexit 1\n")
            program.chmod(0o755)

    def link(self, name: str, release: Path) -> None:
        """Has `current` or `previous` lead to the release, from one moment to the next."""
        new = self.root / "new"
        new.symlink_to(release.relative_to(self.root))
        new.rename(self.root / name)

    def linked(self, name: str) -> str:
        """The release that a link leads to."""
        return (self.root / name).readlink().name

    def cluster(self, directory: Path, env: Mapping[str, str] | None = None) -> Cluster:
        """A master started through `current`, as a unit file would."""
        current = self.root / "current"
        return Cluster(
            directory,
            *("--chdir", str(current), "served:app"),
            program=[str(current / ".venv/bin/gunicorn")],
            config=current / "gunicorn.conf.py",
            env={"SMART_FACTORY_ROOT": str(self.root), **(env or {})},
        )


def environment(cluster: Cluster, **more: str) -> dict[str, str]:
    """What tells a script where the cluster keeps its files, and nothing of a developer's own."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return inherited | {
        "RUNTIME_DIRECTORY": str(cluster.runtime),
        "STATE_DIRECTORY": str(cluster.directory / "state"),
        "LOG_DIRECTORY": str(cluster.directory / "logs"),
        "PORT": str(cluster.port),
        **more,
    }


def run(
    script: str, *words: str, env: Mapping[str, str], timeout: float = 100
) -> subprocess.CompletedProcess[str]:
    """Runs one of deploy/scripts in bash, with an environment of its own."""
    return subprocess.run(
        [SCRIPTS / script, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
