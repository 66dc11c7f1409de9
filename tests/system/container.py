"""A machine with a real systemd: Debian 13, booted in a container with a network of its own."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import psutil

from tests.cluster import Answer
from tests.system.load import Load, load_on
from tests.wait import wait_until

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_SECONDS = 90.0
_STOP_SECONDS = 60.0
_REBOOT = 133  # how systemd-nspawn --keep-unit ends when its container wants to boot again
_numbers = itertools.count(1)

# A container's systemd takes the control group that it was started in for the root: in one that
# it shares it would count, and wait for, processes of another container's unit of the same name.
_HIERARCHIES = tuple(Path("/sys/fs/cgroup", name) for name in ("", "unified", "systemd"))
_IN_ITS_CONTROL_GROUP = """
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  if [ -e "$hierarchy/cgroup.procs" ]; then
    mkdir -p "$hierarchy/$0"
    echo $$ >"$hierarchy/$0/cgroup.procs"
  fi
done
exec "$@"
"""

# One request, from inside the container's network; the answer as JSON.
_ASK = """
import base64, http.client, json, sys
method, port, path, headers, body, timeout = json.loads(sys.argv[1])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
connection.request(method, path, body=body, headers=headers)
answer = connection.getresponse()
print(json.dumps([answer.status, answer.getheaders(), base64.b64encode(answer.read()).decode()]))
"""


class Container:
    """A booted container on top of read-only layers, the uppermost first; `with` boots and ends it.

    What it writes goes to `directory`, and outlives its reboots.
    """

    def __init__(self, layers: Sequence[Path], directory: Path):
        self._layers = layers
        self.upper = directory / "upper"
        self._work = directory / "work"
        self._root = directory / "root"
        self._console = directory / "console.log"
        self._name = f"sf-{os.getpid()}-{next(_numbers)}"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.pid = 0  # of its systemd, as this machine sees it

    def __enter__(self) -> Self:
        for directory in (self.upper, self._work, self._root):
            directory.mkdir(parents=True)
        lower = ":".join(map(str, self._layers))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={self._work}"
        _command("mount", "-t", "overlay", "overlay", "-o", options, str(self._root))
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _boot(self) -> None:
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("sh", "-euc", _IN_ITS_CONTROL_GROUP, self._name),
                    # A test run that is killed takes its containers with it.
                    *("setpriv", "--pdeathsig=TERM"),
                    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
                    *("--console=pipe", "--private-network", f"--machine={self._name}"),
                    *("--directory", str(self._root)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._await_boot()

    def _await_boot(self) -> None:
        """Until its systemd says that it is up."""
        assert self._nspawn is not None
        nspawn = psutil.Process(self._nspawn.pid)

        def is_up() -> bool:
            with contextlib.suppress(psutil.Error):
                self.pid = next((c.pid for c in nspawn.children() if _is_init(c.pid)), 0)
            if not self.pid:
                return False
            state = self.systemctl("is-system-running", check=False).stdout.strip()
            return state in ("running", "degraded")

        try:
            wait_until(is_up, what="the container to boot", seconds=_BOOT_SECONDS)
        except AssertionError as error:
            console = self._console.read_text(errors="replace")
            raise AssertionError(f"{error}\n{console}") from None

    def reboot(self) -> None:
        """Reboots it, and waits until it is up again."""
        assert self._nspawn is not None
        self.systemctl("reboot", check=False)
        code = self._nspawn.wait(_STOP_SECONDS)
        assert code == _REBOOT, f"systemd-nspawn ended with {code}"
        self._boot()

    def _end(self) -> None:
        if self._nspawn is not None:
            # It tells the systemd inside to shut down, in order.
            self._nspawn.terminate()
            try:
                self._nspawn.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait(_STOP_SECONDS)
        for hierarchy in _HIERARCHIES:
            for group, _, _ in os.walk(hierarchy / self._name, topdown=False):
                with contextlib.suppress(OSError):  # something in it is still about to end
                    os.rmdir(group)  # noqa: PTH106 - as os.walk names it
        _command("umount", "--lazy", str(self._root))
        shutil.rmtree(self._work, ignore_errors=True)

    # --- what is done inside

    def run(
        self,
        *command: str,
        check: bool = True,
        timeout: float = 120,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as root; unless `check` is False, it must exit with 0."""
        # Never in a namespace of this machine's: a command may be `systemctl reboot`.
        assert _is_init(self.pid), "the container does not run"
        variables = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        done = subprocess.run(
            [
                *("nsenter", f"--target={self.pid}", "--all", "env", "--ignore-environment"),
                *("--chdir=/", *(f"{name}={value}" for name, value in variables.items())),
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **({"input": input} if input is not None else {"stdin": subprocess.DEVNULL}),
        )
        if check and done.returncode:
            words = " ".join(command)
            raise AssertionError(
                f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def sh(self, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a script of bash's."""
        return self.run("bash", "-Eeuo", "pipefail", "-c", script, **options)

    def systemctl(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--no-pager", *words, **options)

    def journal(self, unit: str = "smart-factory.service", *words: str) -> str:
        """What the unit has logged, and systemd about it; `words`: more options of journalctl's."""
        return self.run(
            *("journalctl", f"--unit={unit}", "--output=cat", "--no-pager"), *words
        ).stdout

    def path(self, inside: str) -> Path:
        """Where a file that is no link is on this machine, as long as the container runs."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Puts a file there, and the directories above it."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.run("bash", "-c", script, "write", inside, f"{mode:o}", input=text)

    def wait(self, script: str, *, what: str, seconds: float = 60) -> None:
        """Until the script exits with 0."""
        wait_until(lambda: self.sh(script, check=False).returncode == 0, what=what, seconds=seconds)

    # --- requests from inside its network

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        port: int = 3000,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10,
    ) -> Answer:
        """One request; a body goes as JSON. Raises OSError when nothing came back."""
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = json.dumps(body)
            sent["Content-Type"] = "application/json"
        asked = json.dumps([method, port, path, sent, data, timeout])
        done = subprocess.run(
            [*self._in_its_network(), sys.executable, "-c", _ASK, asked],
            capture_output=True,
            text=True,
            timeout=timeout + 30,
            check=False,
        )
        if done.returncode:
            raise OSError(done.stderr.strip().rpartition("\n")[2])
        status, pairs, encoded = json.loads(done.stdout)
        return Answer(status, dict(pairs), base64.b64decode(encoded))

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def load(
        self,
        path: str = "/health",
        *,
        port: int = 3000,
        rate: float = 100,
        timeout: float = 30,
        method: str = "GET",
    ) -> AbstractContextManager[Load]:
        """Requests arrive at a fixed rate during the block and a second beyond it."""
        return load_on(
            f"http://127.0.0.1:{port}{path}",
            within=self._in_its_network(),
            rate=rate,
            timeout=timeout,
            method=method,
        )

    def _in_its_network(self) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net"]


def _is_init(pid: int) -> bool:
    """Whether the process is the first one of a container, not yet of this machine's namespaces."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    pids = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
    return len(pids) > 1 and pids[-1] == "1"


def _command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr}")
