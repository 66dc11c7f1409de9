"""What every check starts from, and how it looks: with a deadline, and without a change."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from deploy.ops import status_facts, systemd
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.installation import ROOT, Installation
from deploy.ops.status_facts import Status
from deploy.state.environment import runtime_directory, state_directory

_T = TypeVar("_T")
_ASK_SECONDS = 8.0
_OWN_APPLICATION = "app.wsgi:app"
_USER = "smart-factory"
TREE = Path(__file__).resolve().parents[3]


class CannotLookError(Exception):
    """It cannot be seen from here; the message says why."""


class NoAnswerError(Exception):
    """What was asked does not answer; the message says what, and for how long."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last line of its complaint: of a traceback, what went wrong."""
        return (self.err.strip() or self.out.strip() or "it said nothing").splitlines()[-1]


@dataclass(frozen=True, kw_only=True)
class Context:
    """One examination: the environment, the directories and the moment."""

    environ: Mapping[str, str] = field(repr=False)  # with what the environment file adds
    unread: str = ""  # why the environment file cannot be read
    directories: Directories = field(repr=False)
    root: Path
    installation: Installation | None  # None: a development checkout
    tree: Path  # where the kit of this command lies
    systemd: bool  # whether this machine runs it
    now: float  # Unix time
    machine: Path = Path("/")  # another file system root in tests
    _kept: dict[Any, Future[Any]] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def read(cls, environ: Mapping[str, str], *, now: float) -> Context:
        """Never raises: an environment file that cannot be read is a finding of its own."""
        unread = ""
        try:
            directories = Directories.read(environ)
        except click.UsageError as error:
            unread = error.message
            directories = Directories(
                runtime=runtime_directory(environ),
                state=state_directory(environ),
                environ=dict(environ),
            )
        root = Path(environ.get("SMART_FACTORY_ROOT") or ROOT)
        installation = None
        # A checkout beside an installation is about itself, unless the variable says otherwise.
        if environ.get("SMART_FACTORY_ROOT") or TREE.is_relative_to(root.resolve()):
            with contextlib.suppress(OperationError):  # `release` says that there is none
                installation = Installation.read({"SMART_FACTORY_ROOT": str(root)})
        return cls(
            environ=directories.environ,
            unread=unread,
            directories=directories,
            root=root,
            installation=installation,
            tree=TREE,
            systemd=systemd.booted(),
            now=now,
        )

    @property
    def production(self) -> bool:
        """Whether it serves, or is to serve, others than its developer."""
        return self.installation is not None or self.value("APP_ENV") == "production"

    @property
    def own_application(self) -> bool:
        """Whether it is the application that the kit carries."""
        return self.value("WSGI_APP", _OWN_APPLICATION) == _OWN_APPLICATION

    def value(self, name: str, default: str = "") -> str:
        """A variable; an empty one counts as not set."""
        return self.environ.get(name, "").strip() or default

    def number(self, name: str, default: int) -> int:
        """A variable that is an integer; the master refuses others, so the default stands in."""
        text = self.value(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else default

    def need_environment(self) -> None:
        """Raises CannotLookError when the environment file, which decides here, is not known."""
        if self.unread:
            raise CannotLookError("the environment file cannot be read: see `environment`")

    def file(self, path: str | Path) -> Path:
        """A file of the machine, by its absolute path."""
        return self.machine / str(path).lstrip("/")

    def once(self, gather: Callable[[Context], _T]) -> _T:
        """What `gather` returns or raises, asked once for all checks that want to know."""
        with self._lock:
            future = self._kept.get(gather)
            mine = future is None
            if future is None:
                future = self._kept[gather] = Future()
        if mine:
            try:
                future.set_result(gather(self))
            except Exception as error:  # each check that asks gets it
                future.set_exception(error)
        try:
            result: _T = future.result(timeout=2 * _ASK_SECONDS)
        except FutureTimeoutError:
            raise NoAnswerError(f"no answer within {2 * _ASK_SECONDS:g} s") from None
        return result


def cluster(context: Context) -> Status:
    """What `status` says now, rates on average; for `Context.once`."""
    return status_facts.read(context.directories, 0)


def run(
    words: Sequence[str],
    *,
    seconds: float = _ASK_SECONDS,
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Ran:
    """Runs a command that only looks; raises CannotLookError, or NoAnswerError at the deadline."""
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}  # a look leaves nothing behind
    try:
        done = subprocess.run(  # noqa: S603 - our own commands, no shell
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            cwd=directory,
            env={**(os.environ if environ is None else environ), **quiet},
            **(identity or {}),
        )
    except FileNotFoundError:
        raise CannotLookError(f"{words[0]} is not on this machine") from None
    except PermissionError as error:
        raise CannotLookError(f"needs root: {words[0]} ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"no answer within {seconds:g} s: {' '.join(words[:3])}") from None
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def service_identity(context: Context) -> dict[str, Any]:
    """As whom the service runs, for `run`: what root may do, the service may not.

    Postgres knows a peer by its user. Empty where we are not root, or it runs as root itself.
    """
    if os.geteuid() != 0:
        return {}
    master = context.once(cluster).master
    try:
        if master is not None and Path(f"/proc/{master.pid}").exists():
            entry = pwd.getpwuid(Path(f"/proc/{master.pid}").stat().st_uid)
        elif context.installation is not None:
            entry = pwd.getpwnam(_USER)
        else:
            return {}
    except (KeyError, OSError):
        return {}
    if entry.pw_uid == 0:
        return {}
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
