"""What an operator does on the machine, and what they see."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.system.container import Container

SOURCE = "/srv/source"


def smart_factory(
    machine: Container, *words: str, code: int | None = 0, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Runs the installed command in the source tree; None allows any exit code."""
    line = " ".join(f"'{word}'" for word in words)
    done = machine.sh(f"cd {SOURCE} && smart-factory {line}", check=False, timeout=timeout)
    if code is not None and done.returncode != code:
        raise AssertionError(
            f"smart-factory {line}: exit code {done.returncode}, not {code}\n"
            f"{done.stdout}{done.stderr}\n--- journal\n{journal(machine)}"
        )
    return done


def journal(machine: Container) -> str:
    """The service's last lines, without those of requests."""
    lines = machine.journal("smart-factory.service", "-n", "3000").splitlines()
    return "\n".join([line for line in lines if '"event": "request"' not in line][-40:])


def status(machine: Container) -> Any:
    """The facts of `status`, also of a service that is degraded or down."""
    done = smart_factory(machine, "status", "--json", "--interval", "0", code=None)
    return json.loads(done.stdout)


def size_of(machine: Container) -> tuple[str, int, int]:
    """Mode, workers wanted, workers ready."""
    facts = status(machine)
    return facts["mode"], facts["workers"]["wanted"], facts["workers"]["ready"]


def commit(machine: Container, script: str) -> str:
    """Changes the source tree with a script, commits it, and returns the commit."""
    return machine.sh(
        f"cd {SOURCE} && {script}\ngit add --all && git commit --quiet --message change"
        " && git rev-parse --short=7 HEAD"
    ).stdout.split()[-1]


def restarts(machine: Container) -> int:
    """How often systemd has restarted the service by itself."""
    return int(shown(machine, "NRestarts"))


def main_pid(machine: Container) -> int:
    """The service's main process, as systemd sees it."""
    return int(shown(machine, "MainPID"))


def shown(machine: Container, name: str, unit: str = "smart-factory.service") -> str:
    """One property of a unit."""
    return machine.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()


def is_active(machine: Container, unit: str) -> bool:
    """Whether the unit runs."""
    return machine.systemctl("is-active", "--quiet", unit, check=False).returncode == 0
