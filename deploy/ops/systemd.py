"""systemd as a command sees it: units through systemctl(1), their log through journalctl(1)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.ops.errors import OperationError

SERVICE, SOCKET = "smart-factory.service", "smart-factory.socket"
BARE = "smart-factory-bare.service"
# A start waits for every worker, a stop for every request in flight: longer than either unit's own.
_JOB_SECONDS = 420.0
_ASK_SECONDS = 30.0


class SystemdError(OperationError):
    """systemctl or journalctl failed; the message says what they said."""


def booted() -> bool:
    """Whether this machine runs systemd (sd_booted(3)) and its commands are at hand."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def properties(unit: str, *names: str) -> dict[str, str]:
    """The unit's properties as `systemctl show` says them; a unit that is not there has them, too.

    `LoadState` tells whether it is there.
    """
    shown = _run(["systemctl", "show", unit, *(f"--property={name}" for name in names)])
    found = dict(line.partition("=")[::2] for line in shown.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in names}


def every(pattern: str, *names: str) -> list[dict[str, str]]:
    """The properties of each unit that is loaded and matches the pattern, by `Id`."""
    shown = _run(
        ["systemctl", "show", "--all", pattern, *(f"--property={name}" for name in ("Id", *names))]
    )
    blocks = [block for block in shown.strip().split("\n\n") if block]
    found = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
    return sorted(found, key=lambda each: each.get("Id", ""))


def installed(unit: str) -> bool:
    """Whether systemd knows the unit."""
    return booted() and properties(unit, "LoadState")["LoadState"] == "loaded"


def active(unit: str) -> bool:
    """Whether the unit runs: started, or being reloaded."""
    return booted() and properties(unit, "ActiveState")["ActiveState"] in ("active", "reloading")


def manages(pid: int) -> bool:
    """Whether the process is the main process of our service."""
    return booted() and properties(SERVICE, "MainPID")["MainPID"] == str(pid)


def job(verb: str, *units: str) -> None:
    """`start`, `stop`, `restart`, `enable` …, waited for; raises SystemdError."""
    _run(["systemctl", "--no-ask-password", verb, *units], seconds=_JOB_SECONDS)


def cursor() -> str:
    """Where the journal ends now: `entries` goes on from there."""
    shown = _run(["journalctl", "--quiet", "--lines=0", "--show-cursor"])
    return shown.strip().rpartition("-- cursor: ")[2]


def entries(*units: str, after: str = "", minutes: int = 0) -> Iterator[dict[str, Any]]:
    """The journal's entries of the units, after a cursor or of the last minutes, oldest first."""
    chosen = [f"--unit={unit}" for unit in units]
    since = [f"--after-cursor={after}"] if after else []
    since += [f"--since=-{minutes}min"] if minutes else []
    shown = _run(["journalctl", "--quiet", "--output=json", "--all", *since, *chosen])
    for line in shown.splitlines():
        entry = json.loads(line)
        if isinstance(entry, dict):
            yield entry


def _run(command: Sequence[str], *, seconds: float = _ASK_SECONDS) -> str:
    words = " ".join(command)
    try:
        done = subprocess.run(  # noqa: S603 - systemd's own commands
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            process_group=0,  # the terminal's Ctrl-C is ours: it must not end the way back
        )
    except FileNotFoundError:
        raise SystemdError(f"{command[0]} is not on this machine", "it needs systemd") from None
    except subprocess.TimeoutExpired:
        raise SystemdError(f"waited {seconds:g} s for: {words}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise SystemdError(f"{words}: {said[0]}", f"see why with: journalctl -u {SERVICE} -n 50")
    return done.stdout
