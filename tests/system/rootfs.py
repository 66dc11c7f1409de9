"""Debian 13 in a directory, below every container's own layer: built once, outside the tree.

`python -m tests.system.rootfs` builds it ahead of the tests, and says how far it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import ROOT

_SUITE = "trixie"
_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "ca-certificates"),
    *("python3", "python3-venv", "git", "postgresql", "redis-server"),
)
_REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "constraints.txt")
_WHEELS, _SCRATCH = "var/cache/wheels", "var/lib/scratch"
# Of no use to us: a release that brings another dependency brings this one.
_ANOTHER = "humanize"
# The booted containers have no network; what pip installs there comes from here.
_PIP_CONF = f"[global]\nno-index = true\nfind-links = /{_WHEELS}\n"
# What a crash of the machine would lose is of no interest to a test.
_POSTGRES = "fsync = off\nfull_page_writes = off\n"
_used: list[int] = []  # descriptors of those that this process uses; their locks end with it


class MissingProgramError(AssertionError):
    """The tests need a program that this machine lacks, or they are not run by root."""


def rootfs() -> Path:
    """The directory, built now if it is not there yet; it stays as long as this process lives."""
    _refuse_unfit_machine()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smart-factory"
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / f"rootfs-{_fingerprint()}"
    with (cache / "rootfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.is_dir():
            for old in cache.glob("rootfs-*"):
                _remove_unless_used(old)
            building = found.with_name(f"{found.name}.building")
            _build(building)
            building.rename(found)
        _used.append(os.open(found, os.O_RDONLY))
        fcntl.flock(_used[-1], fcntl.LOCK_SH)
    return found


def _remove_unless_used(old: Path) -> None:
    descriptor = os.open(old, os.O_RDONLY)
    try:
        with contextlib.suppress(BlockingIOError):  # another run's containers stand on it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
    finally:
        os.close(descriptor)


def _refuse_unfit_machine() -> None:
    if os.geteuid() != 0:
        raise MissingProgramError("tests/system boots containers: run it as root")
    programs = ("debootstrap", "systemd-nspawn", "nsenter", "unshare")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise MissingProgramError(
            f"tests/system needs {', '.join(missing)}: "
            "apt-get install debootstrap systemd-container util-linux"
        )


def _fingerprint() -> str:
    parts = [Path(__file__).read_bytes(), *((ROOT / name).read_bytes() for name in _REQUIREMENTS)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _build(directory: Path) -> None:
    _run(
        "debootstrap, about two minutes",
        [
            # In a mount namespace: its mounts in the directory end with it, however it ends.
            *("unshare", "--mount", "--propagation=private"),
            *("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"),
            *(_SUITE, directory),
        ],
    )
    # Not /tmp: systemd-nspawn puts an empty one over it.
    scratch = directory / _SCRATCH
    scratch.mkdir()
    for name in _REQUIREMENTS:
        shutil.copy(ROOT / name, scratch)
    pip = [f"/{_SCRATCH}/venv/bin/pip", "wheel", "--quiet", "--wheel-dir", f"/{_WHEELS}"]
    certificates = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if certificates:
        shutil.copy(certificates, scratch / "certificates.pem")
        pip += ["--cert", f"/{_SCRATCH}/certificates.pem"]
    for name in ("requirements.txt", "requirements-dev.txt"):
        pip += ["-r", f"/{_SCRATCH}/{name}"]
    pip += ["-c", f"/{_SCRATCH}/constraints.txt", _ANOTHER]
    _inside("pip", directory, ["python3", "-m", "venv", f"/{_SCRATCH}/venv"])
    _inside("the wheels", directory, pip)
    shutil.rmtree(scratch)
    (directory / "etc" / "pip.conf").write_text(_PIP_CONF)
    _run("systemctl", ["systemctl", "--quiet", f"--root={directory}", "disable", "redis-server"])
    (clusters,) = (directory / "etc" / "postgresql").glob("*/main/conf.d")
    (clusters / "tests.conf").write_text(_POSTGRES)


def _inside(what: str, directory: Path, command: Sequence[str]) -> None:
    """Runs it in the directory, with this machine's network and none of its environment."""
    nspawn = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe"]
    _run(what, [*nspawn, "--resolv-conf=replace-host", "--directory", directory, *command])


def _run(what: str, command: Sequence[str | Path]) -> None:
    print(f"tests/system: {what}", file=sys.__stderr__, flush=True)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1200, check=False
    )
    if done.returncode:
        raise AssertionError(f"{what}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    try:
        print(rootfs())
    except AssertionError as error:
        sys.exit(str(error))
