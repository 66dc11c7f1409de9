"""How a mold is started: which interpreter, arguments, directory and environment.

A release is reached through a path that may change what it means (`/opt/app/current`). So the path
is kept as it was written, and looked up anew for each candidate; what it then stood for is kept
with the mold, so that a mold that died is rebuilt from the same release.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# These belong to the master alone: its sockets, its supervisor, its exec.
_OF_THE_MASTER = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("GUNICORN_FD", "GUNICORN_PID", "SERVER_SOFTWARE"),
)


class LaunchError(RuntimeError):
    """There is nothing to start: the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A command to be; paths may still lead through links."""

    python: Path
    arguments: tuple[str, ...]  # Gunicorn's own
    directory: Path
    environ: Mapping[str, str]

    def resolved(self) -> Launch:
        """The same, with links followed to where they lead now; raises LaunchError.

        The interpreter's own link is kept: a virtual environment is known by it (PEP 405).
        """
        directory = Path(os.path.realpath(self.directory))
        python = Path(os.path.realpath(self.python.parent)) / self.python.name
        if not directory.is_dir():
            raise LaunchError(f"the release's directory {self.directory} does not exist")
        if not os.access(python, os.X_OK):
            raise LaunchError(f"the release's interpreter {self.python} does not exist")
        environ = {**self.environ, "PWD": str(directory)}
        return replace(self, python=python, directory=directory, environ=environ)

    def pinned(self, *, config: str | None, chdir: str) -> Launch:
        """The same, for the release that was found there: its configuration and its directory."""
        fixed = ["--chdir", chdir]
        if config:
            fixed += ["--config", config]
        return replace(self, arguments=(*self.arguments, *fixed))


def of_this_process(
    *, arguments: Sequence[str], directory: str, environ: Mapping[str, str]
) -> Launch:
    """How this very process was started: `arguments` as in sys.argv, `directory` as in PWD."""
    here = os.path.realpath(directory)
    program = Path(directory, arguments[0])
    directory = _reached_through(directory, [program, *_paths(directory, arguments)])
    interpreter = Path(sys.executable)
    beside = program.parent / interpreter.name
    # A script in a virtual environment names its interpreter by the path at installation; what
    # was typed may be a link to it, and that link is what a release changes.
    if os.path.realpath(beside.parent) == os.path.realpath(interpreter.parent) and beside.exists():
        python = beside
    elif interpreter.is_relative_to(here):
        python = Path(directory) / interpreter.relative_to(here)
    else:
        python = interpreter
    return Launch(
        python=python,
        arguments=tuple(arguments[1:]),
        directory=Path(directory),
        environ={k: v for k, v in environ.items() if k not in _OF_THE_MASTER},
    )


def _paths(directory: str, arguments: Sequence[str]) -> list[Path]:
    """The arguments that name something in the file system: the configuration, the directory."""
    values = [argument.partition("=")[2] or argument for argument in arguments[1:]]
    return [path for value in values if (path := Path(directory, value)).exists()]


def _reached_through(directory: str, paths: Sequence[Path]) -> str:
    """The directory as it was written, where only the other paths still know that.

    A shell says in PWD through which link it came; systemd does not (systemd.exec(5)).
    """
    if os.path.realpath(directory) != directory:
        return directory
    for path in paths:
        for parent in (path, *path.parents):
            if os.path.realpath(parent) == directory and str(parent) != directory:
                return str(parent)
    return directory
