"""A release's own programs, run as the service would run them: its user, variables and secrets."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.ops import systemd
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.installation import Release

CREDENTIALS = Path("/etc/smart-factory/credentials")
_END_SECONDS = 5.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# These are about another process: whoever runs the operator's command.
_NOT_INHERITED = {
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "VIRTUAL_ENV"),
}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a program ended; `code` is None when it was late, and has been ended."""

    code: int | None
    output: str  # both streams

    @property
    def last_line(self) -> str:
        """Of a traceback, what went wrong."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whom the service runs as."""

    uid: int
    gid: int
    groups: Sequence[int]
    name: str  # empty: it has none
    home: str

    @classmethod
    def of(cls, directories: Directories) -> Identity | None:
        """Who owns the state directory; None where we are not root, or the service is root's."""
        try:
            owner = directories.state.stat()
        except OSError:
            return None
        if os.geteuid() != 0 or owner.st_uid == 0:
            return None
        try:
            entry = pwd.getpwuid(owner.st_uid)
        except KeyError:
            return cls(uid=owner.st_uid, gid=owner.st_gid, groups=[], name="", home="/")
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return cls(
            uid=entry.pw_uid,
            gid=entry.pw_gid,
            groups=groups,
            name=entry.pw_name,
            home=entry.pw_dir,
        )

    def arguments(self) -> dict[str, Any]:
        """For subprocess."""
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}


@dataclass(frozen=True, kw_only=True)
class AsService:
    """Where and with what a release's programs run."""

    directories: Directories
    root: Path
    identity: Identity | None
    credentials: Path = field(default=CREDENTIALS)

    @classmethod
    def read(cls, directories: Directories, root: Path) -> AsService:
        """As the service of this installation, whether it runs or not."""
        return cls(directories=directories, root=root, identity=Identity.of(directories))

    def run(self, release: Release, words: Sequence[str], *, seconds: float) -> Ran:
        """Runs a program of the release in its directory; raises OperationError if it cannot."""
        with self.started(release, words, environ=self.environment()) as program:
            try:
                output, _ = program.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as error:
                # Undecoded, whatever was asked for.
                raw: bytes = error.output or b""
                return Ran(code=None, output=raw.decode(errors="replace"))
        return Ran(code=program.returncode, output=output)

    @contextlib.contextmanager
    def started(
        self,
        release: Release,
        words: Sequence[str],
        *,
        environ: Mapping[str, str],
        stderr: int = subprocess.STDOUT,
    ) -> Iterator[subprocess.Popen[str]]:
        """A program of the release, begun in its directory; what is left of it ends with the block.

        Raises OperationError if it cannot be run.
        """
        who = self.identity
        with self._secrets() as secrets:
            try:
                program = subprocess.Popen(  # noqa: S603 - the release's own programs
                    words,
                    cwd=release.directory,
                    env={**environ, **secrets, "PWD": str(release.directory)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    errors="replace",
                    umask=0o027,
                    start_new_session=True,
                    **(who.arguments() if who else {}),
                )
            except OSError as error:
                raise OperationError(f"{words[0]} cannot be run ({error.strerror})") from None
            try:
                yield program
            finally:
                _end(program)

    def environment(self) -> dict[str, str]:
        """What its programs find, beside the secrets."""
        environ = self._of_the_unit() or {
            name: value for name, value in os.environ.items() if name not in _NOT_INHERITED
        }
        environ |= {
            "RUNTIME_DIRECTORY": str(self.directories.runtime),
            "STATE_DIRECTORY": str(self.directories.state),
        }
        if self.identity is not None:
            name = self.identity.name
            environ |= {"HOME": self.identity.home, "USER": name, "LOGNAME": name}
        return environ

    def _of_the_unit(self) -> dict[str, str]:
        """What systemd gives the service; empty when the service is not systemd's."""
        if not managed(self.root):
            return {}
        shown = systemd.properties(systemd.SERVICE, "Environment")["Environment"]
        pairs = (word.partition("=") for word in shlex.split(shown))
        return {"PATH": _PATH, "LANG": "C.UTF-8", **{name: value for name, _, value in pairs}}

    @contextlib.contextmanager
    def _secrets(self) -> Iterator[Mapping[str, str]]:
        """A copy of the credentials that the service's user can read, as LoadCredential gives it.

        It is in memory, and gone afterwards.
        """
        files: list[Path] = []
        with contextlib.suppress(OSError):  # not root, or there are none
            files = [path for path in self.credentials.iterdir() if os.access(path, os.R_OK)]
        if not files:
            yield {}
            return
        memory = "/dev/shm"  # noqa: S108 - a folder of our own in it, which nobody else enters
        folder = Path(
            tempfile.mkdtemp(
                prefix="smart-factory-credentials-", dir=memory if Path(memory).is_dir() else None
            )
        )
        try:
            for path in files:
                copy = folder / path.name
                copy.touch(0o400)
                copy.chmod(0o600)
                copy.write_bytes(path.read_bytes())
                copy.chmod(0o400)
                self._give(copy)
            self._give(folder)
            yield {"CREDENTIALS_DIRECTORY": str(folder)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _give(self, path: Path) -> None:
        if self.identity is not None:
            os.chown(path, self.identity.uid, self.identity.gid)


def _end(program: subprocess.Popen[str]) -> None:
    if program.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        # Nothing to hear of it any more; one that not even this ends must not hold us up.
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(_END_SECONDS)
    for stream in (program.stdout, program.stderr):
        if stream is not None:
            stream.close()


def managed(root: Path) -> bool:
    """Whether systemd has the service of this very installation."""
    if not systemd.booted():
        return False
    shown = systemd.properties(systemd.SERVICE, "LoadState", "WorkingDirectory")
    return shown["LoadState"] == "loaded" and Path(shown["WorkingDirectory"]).is_relative_to(root)


def variable(directories: Directories, name: str) -> str:
    """A variable of the service, from the environment or its file; empty when it is not set."""
    return directories.environ.get(name, "").strip()
