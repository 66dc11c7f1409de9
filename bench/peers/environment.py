"""Each peer's own environment: built once, kept outside the tree.

An environment is keyed by a hash of its pins and of what runs it, built in a temporary name and
renamed when it is whole. The scripts in a virtual environment name the directory it was made in;
that is why the commands run `python -m …`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from bench.peers import progress
from bench.throughput import MissingProgramError
from tests.cluster import ROOT

_HERE = Path(__file__).parent
_SHARED = (ROOT / "requirements.txt", ROOT / "constraints.txt")
_PACKAGE = _HERE / "express" / "package.json"
_DEBIAN = {
    "wrk": "wrk",
    "node": "nodejs",
    "npm": "npm",
    "cc": "gcc libc6-dev python3-dev",
}
_SECONDS = 900  # one that is compiled, on a busy machine


class EnvironmentBuildError(RuntimeError):
    """pip or npm could not build an environment; the message holds what it said."""


def program(name: str) -> str:
    """Its path; raises MissingProgramError, which names Debian's package."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgramError(f"{name} is not installed: apt-get install {_DEBIAN[name]}")
    return found


def python(name: str) -> Path:
    """The virtual environment with our requirements and those in requirements/NAME.txt."""
    pins = (*_SHARED, _HERE / "requirements" / f"{name}.txt")
    key = [*(each.read_bytes() for each in pins), _interpreter()]

    def build(directory: Path) -> None:
        if name == "uwsgi":
            _refuse_without_compiler()
        _run([sys.executable, "-m", "venv", directory])
        _run(
            [
                *(directory / "bin" / "python", "-m", "pip", "install", "--quiet"),
                *("-r", pins[0], "-r", pins[2], "-c", pins[1]),
            ]
        )

    return _built(name, key, build)


def express() -> Path:
    """The directory with node_modules, of the exact versions in express/package.json."""
    key = [_PACKAGE.read_bytes(), _run([program("node"), "--version"]).encode()]

    def build(directory: Path) -> None:
        directory.mkdir()
        shutil.copy(_PACKAGE, directory)
        _run([program("npm"), "install", "--no-audit", "--no-fund"], directory)

    return _built("express", key, build)


def python_version(environment: Path, package: str) -> str:
    """The version that pip has installed there."""
    site = sysconfig.get_path("purelib", vars={"base": str(environment)})
    (found,) = metadata.distributions(name=package, path=[site])
    return found.version


def node_version(environment: Path, package: str) -> str:
    """The version that npm has installed there; of `node` the one that runs it."""
    if package == "node":
        return _run([program("node"), "--version"]).strip().removeprefix("v")
    facts = environment / "node_modules" / package / "package.json"
    return str(json.loads(facts.read_text())["version"])


def _built(name: str, key: Sequence[bytes], build: Callable[[Path], None]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = cache / "smart-factory" / "bench"
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"\0".join(key)).hexdigest()[:12]
    found = cache / f"{name}-{digest}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever holds it builds, which has a deadline
        if not found.is_dir():
            progress.say(f"building the environment of {name} in {cache}")
            new = found.with_name(f"{found.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            build(new)
            new.rename(found)
    return found


def _interpreter() -> bytes:
    return f"{platform.python_implementation()} {platform.python_version()}".encode()


def _refuse_without_compiler() -> None:
    program("cc")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise MissingProgramError(f"Python.h is not installed: apt-get install {_DEBIAN['cc']}")


def _run(command: Sequence[str | Path], directory: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise EnvironmentBuildError(f"{words}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout
