"""What systemd says of our units, in one question for all checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from deploy.ops.checks.context import CannotLookError, Context, NoAnswerError, run
from deploy.ops.consumer_unit import NAMES, unit_of
from deploy.ops.systemd import BARE, SERVICE, SOCKET

CONSUMERS = tuple(unit_of(name) for name in NAMES)
UNITS = (
    SERVICE,
    SOCKET,
    BARE,
    "smart-factory.target",
    "smart-factory-prune.service",
    "smart-factory-prune.timer",
    "smart-factory-topup.service",
    "smart-factory-topup.timer",
    *CONSUMERS,
)
DIRECTORY = "/etc/systemd/system"
_PROPERTIES = (
    "Id LoadState ActiveState SubState UnitFileState NeedDaemonReload DropInPaths FragmentPath "
    "Result ExecMainStatus NRestarts Listen Backlog TriggeredBy OnFailure LimitNOFILESoft "
    "MemoryMax StartLimitIntervalUSec ExecStopPost"
)

Facts = Mapping[str, Mapping[str, str]]  # unit, property


def version(context: Context) -> int:
    """Of systemd, `257`; for `Context.once`."""
    if not context.systemd:
        raise CannotLookError("this machine is not run by systemd")
    said = run(["systemctl", "--version"]).out
    found = re.match(r"systemd (\d+)", said)
    if found is None:
        raise CannotLookError(f"systemctl --version says {said[:40]!r}")
    return int(found[1])


def facts(context: Context) -> Facts:
    """The properties of every unit of ours; one that is not there says so in LoadState."""
    if not context.systemd:
        raise CannotLookError("this machine is not run by systemd")
    ran = run(["systemctl", "show", *UNITS, f"--property={','.join(_PROPERTIES.split())}"])
    if ran.code:
        raise NoAnswerError(f"systemctl show: {ran.said}")
    return parsed(ran.out)


def installed(context: Context) -> Facts:
    """The same; raises CannotLookError where our service is not installed."""
    found = context.once(facts)
    if context.installation is None:
        raise CannotLookError("for an installation; this is a checkout")
    if not there(found, SERVICE):
        raise CannotLookError("the units are not installed: see `unit-files`")
    return found


def known(context: Context, unit: str, name: str) -> str:
    """A property of a unit; empty where systemd, the unit or an answer is missing."""
    try:
        return context.once(facts).get(unit, {}).get(name, "")
    except (CannotLookError, NoAnswerError):
        return ""


def there(found: Facts, unit: str) -> bool:
    """Whether systemd knows the unit."""
    return found.get(unit, {}).get("LoadState", "not-found") not in ("not-found", "")


def parsed(text: str) -> Facts:
    """The blocks of `systemctl show`, by Id; a property that stands several times is joined."""
    units: dict[str, dict[str, str]] = {}
    for block in text.strip().split("\n\n"):
        found: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition("=")
            found[name] = f"{found[name]}\n{value}" if name in found else value
        units[found.get("Id", "")] = found
    return units


def sources(context: Context) -> dict[str, Path]:
    """The unit files that the live release brings, by name, templates too."""
    assert context.installation is not None  # noqa: S101 - asked by `installed` before
    directory = context.root / "current" / "systemd"
    kinds = (".service", ".socket", ".target", ".timer")
    return {path.name: path for path in sorted(directory.glob("*")) if path.suffix in kinds}
