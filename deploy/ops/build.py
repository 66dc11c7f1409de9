"""Building a release: its tree and its virtual environment, by deploy/scripts/build-release.sh."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from deploy.ops.change import Say
from deploy.ops.installation import Installation, Release
from deploy.ops.operation import PreflightError
from deploy.ops.terminal import printable, size
from deploy.ops.waiting import Progress

_SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "build-release.sh"
_SECONDS = 1800.0  # a slow mirror, a dependency that is compiled
_ASK_SECONDS = 30.0
_LEAST_BYTES = 200 << 20
_LAST_LINES = 40  # of a build that failed
# A virtual environment needs ensurepip, which Debian has in a package of its own.
_ABOUT = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"


def default_python() -> str:
    """The interpreter below this command's virtual environment: the one that served so far."""
    major, minor = sys.version_info[:2]
    found = Path(sys.base_prefix, "bin", f"python{major}.{minor}")
    return str(found) if found.exists() else "python3"


def check_python(python: str) -> str:
    """Its version, `3.11`; raises PreflightError for one that a release cannot be built with."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's choice
            [python, "-c", _ABOUT],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=False,
        )
        version = done.stdout.strip() if not done.returncode else ""
    except (OSError, subprocess.TimeoutExpired):
        version = ""
    if not version or tuple(map(int, version.split("."))) < (3, 11):
        raise PreflightError(
            f"--python='{python}': expected Python 3.11 or later with venv"
            f"{f', not {version}' if version else ''}",
            "Debian: apt-get install python3-venv, or name another interpreter",
        )
    return version


def check_space(installation: Installation) -> None:
    """Raises PreflightError when another release would perhaps not find room."""
    live = installation.linked("current")
    need = max(_LEAST_BYTES, bytes_of(live.directory) * 3 // 2 if live else 0)
    free = shutil.disk_usage(installation.releases).free
    if free < need:
        raise PreflightError(
            f"{installation.releases}: {size(free)} free, a release may need {size(need)}",
            "make room; see what lies there with: smart-factory release --list",
        )


def bytes_of(directory: Path) -> int:
    """What the directory takes on the disk, in bytes; 0 for what cannot be seen."""
    total = 0
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                total += Path(folder, name).lstat().st_blocks * 512
    return total


def build(release: Release, source: Path, python: str, say: Say) -> None:
    """Builds it; raises PreflightError, after which it lies there marked FAILED."""
    command = [str(_SCRIPT), "--python", python, str(source), str(release.directory)]
    said: list[str] = []
    late = threading.Event()
    line = Progress()
    with _started(command) as process:
        overdue = threading.Timer(_SECONDS, _end, [process, late])
        overdue.start()
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for text in process.stdout:
                said.append(text.rstrip("\n"))
                line.show(f"Building {release.id}: {said[-1]}")
            code = process.wait()
        finally:
            overdue.cancel()
            line.clear()
    if code:
        last = next((each for each in reversed(said) if each.strip()), "it said nothing")
        within = f" within {_SECONDS:g} s" if late.is_set() else ""
        reason = f"it was not built{within}: {printable(last.removeprefix('build: '))}"
        fail(release, reason)
        click.echo("\n".join(said[-_LAST_LINES:]), err=True)
        raise PreflightError(
            f"release {release.id}: {reason}", "mend what the build complains of, then try again"
        )
    say(f"Built {release.directory}")


def fail(release: Release, reason: str) -> None:
    """Marks it FAILED, as far as there is something to mark."""
    if release.directory.is_dir():
        with contextlib.suppress(OSError):
            release.mark("FAILED", printable(reason))


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which does not outlive the block, nor does what it has started."""
    process = subprocess.Popen(  # noqa: S603 - our own script
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    with process:
        try:
            yield process
        except BaseException:
            _kill(process)
            raise


def _end(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
