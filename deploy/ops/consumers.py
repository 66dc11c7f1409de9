"""What the consumers of our own application say of themselves, for `status`.

They are asked by the release that serves, `python -m app.consumers status --json`, as its service
would run that: the kit knows no more of them than this command and the form of its answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.ops.as_service import AsService
from deploy.ops.cluster import NotRunningError, RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.installation import Installation, Release
from deploy.ops.terminal import printable

# The object as it came; {"error": why} alone; or None: no cluster, or it serves something else.
Answer = Mapping[str, Any] | None

TREE = Path(__file__).resolve().parents[2]
_OWN_APPLICATION = "app.wsgi:app"
_MODULE, _FILE = "app.consumers", Path("app", "consumers", "__main__.py")
_WORDS = ("-m", _MODULE, "status", "--json")


@contextlib.contextmanager
def asked(directories: Directories, seconds: float) -> Iterator[Callable[[], Answer]]:
    """Asks now, and gives what waits for the answer, until `seconds` from now. Never raises."""
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        program, known = None, None
        try:
            program = _begin(stack, directories)
        except OperationError as error:
            known = _unknown(error.message)
        except OSError as error:
            known = _unknown(error.strerror or str(error))
        yield lambda: _heard(program, deadline, seconds) if program else known


def parse(text: str) -> Answer:
    """The answer in what the command has printed; pure."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    each = said.get("consumers") if isinstance(said, dict) else None
    if not isinstance(each, list) or not all(isinstance(one, dict) for one in each):
        return _unknown(f"their answer cannot be read: {text.strip()[:60]!r}")
    return dict(said)


def _begin(stack: contextlib.ExitStack, directories: Directories) -> subprocess.Popen[str] | None:
    """The command, begun; None where there are no consumers to ask for."""
    try:
        cluster = RunningCluster(directories.runtime)
    except NotRunningError:
        return None
    if cluster.master.application != _OWN_APPLICATION:
        return None
    directory = _directory(cluster)
    if not (directory / _FILE).is_file():
        return None
    root = _trusted(directory, directories)
    service = AsService.read(directories, root)
    release = Release(id=directory.name, directory=directory)
    python = release.python if release.python.exists() else Path(sys.executable)
    environ = _environment(cluster.master.pid, service, directory)
    return stack.enter_context(
        service.started(
            release,
            [str(python), *_WORDS],
            environ=environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # a look leaves nothing behind
            stderr=subprocess.PIPE,
        )
    )


def _heard(program: subprocess.Popen[str], deadline: float, seconds: float) -> Answer:
    try:
        output, errors = program.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return _unknown(f"no answer within {seconds:g} s")
    if program.returncode:
        lines = (errors.strip() or output.strip() or "it said nothing").splitlines()
        return _unknown(lines[-1].strip().removeprefix("Error: "))
    return parse(output)


def _directory(cluster: RunningCluster) -> Path:
    """Where the newest worker runs, else the master; raises OperationError when it is hidden."""
    rows = [row for row in cluster.board.rows() if row.slot and row.pid]
    newest = sorted(rows, key=lambda row: -row.generation)
    for pid in (*(row.pid for row in newest), cluster.master.pid):
        try:
            return Path(f"/proc/{pid}/cwd").readlink()
        except PermissionError:
            raise OperationError(
                f"process {pid} is another user's: ask as that user, or as root"
            ) from None
        except OSError:  # it has ended
            continue
    raise OperationError("no process of the cluster is left")


def _trusted(directory: Path, directories: Directories) -> Path:
    """The root of the installation that the release is of, or the tree that this command is of.

    The board's pids are what the service's user wrote there: they must not make root, or anybody
    else, run what lies elsewhere. Raises OperationError.
    """
    with contextlib.suppress(OperationError):
        installation = Installation.read(directories.environ)
        if directory.parent == installation.releases.resolve():
            return installation.root
    if directory == TREE:
        return directory
    raise OperationError(f"the cluster runs in {directory}: ask with the command there")


def _environment(master: int, service: AsService, directory: Path) -> dict[str, str]:
    """Of the consumers that a development start has brought along, else as the service's."""
    environ = _of_companion(master, service)
    if environ is None:
        environ = service.environment()
        if not service.directories.environ.get("DATABASE_URL"):
            environ |= _of_embedded_database(directory)
    return environ


def _of_companion(master: int, service: AsService) -> dict[str, str] | None:
    """It knows the database and the broker, which stand in the variables of the start alone."""
    import psutil

    uid = service.identity.uid if service.identity else os.geteuid()
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(master).children():
            with contextlib.suppress(psutil.Error):
                if child.cmdline()[2:4] == [_MODULE, "develop"] and child.uids().real == uid:
                    environ: dict[str, str] = child.environ()
                    return environ
    return None


def _of_embedded_database(directory: Path) -> dict[str, str]:
    from deploy.ops.embedded_postgres import DEFAULT_DATA, EmbeddedPostgres

    url = EmbeddedPostgres(directory / DEFAULT_DATA).running_url
    return {"DATABASE_URL": url} if url else {}


def _unknown(why: str) -> dict[str, Any]:
    return {"error": printable(why)}
