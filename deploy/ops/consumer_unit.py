"""A consumer's unit as systemd shows it, and what became of it in a restart. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.ops.check import Check

NAMES = ("purchase", "allocation", "session", "cache")  # as install.sh has them
PROGRAM = Path("app", "consumers", "__main__.py")  # the units' condition: in the release
PROPERTIES = (
    *("ActiveState", "MainPID", "ExecMainPID", "ExecMainCode", "ExecMainStatus", "UnitFileState"),
    *("ConditionResult", "ConditionTimestampMonotonic", "WorkingDirectory"),
)
_BEFORE, _AFTER = "smart-factory-consumer@", ".service"
_EXITED = "1"  # CLD_EXITED: the status is an exit code, not a signal


def unit_of(name: str) -> str:
    """`smart-factory-consumer@purchase.service`."""
    return f"{_BEFORE}{name}{_AFTER}"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One consumer's unit."""

    name: str  # purchase, allocation …
    state: str = "active"  # inactive, failed, activating …
    enabled: bool = True
    skipped: bool = False  # by its condition: the release has no consumers
    pid: int = 0  # 0: no process
    last_pid: int = 0  # also when that has ended
    end: str = ""  # `exit code 1`

    @classmethod
    def read(cls, facts: Mapping[str, str]) -> Self:
        """From its properties."""
        # The condition's result is `no` also when nobody has looked at it yet.
        looked = facts["ConditionTimestampMonotonic"] not in ("", "0")
        unmet = looked and facts["ConditionResult"] == "no"
        kind = "exit code" if facts["ExecMainCode"] == _EXITED else "signal"
        return cls(
            name=facts["Id"].removeprefix(_BEFORE).removesuffix(_AFTER),
            state=facts["ActiveState"],
            enabled=facts["UnitFileState"].startswith("enabled"),
            skipped=facts["ActiveState"] == "inactive" and unmet,
            pid=int(facts["MainPID"]),
            last_pid=int(facts["ExecMainPID"]),
            end=f"{kind} {facts['ExecMainStatus']}",
        )

    @property
    def failing(self) -> bool:
        """Whether it has ended, and is about to be started again."""
        return self.state == "activating"

    def to_restart(self, *, there: bool) -> bool:
        """Whether it is to follow a release; `there`: the release has consumers.

        What an operator has stopped, and what has failed for good, is left alone.
        """
        runs = self.state in ("active", "reloading", "activating")
        return runs or (self.skipped and self.enabled and there)


def fallen(before: Sequence[Unit], first: Sequence[Unit], now: Sequence[Unit]) -> list[Unit]:
    """Those that did not stay after the restart; `first`: how they were at once after it.

    One that was failing before says nothing against the release.
    """
    blamed = {unit.name for unit in before if not unit.failing}
    return [
        unit for unit in now if unit.name in blamed and not unit.skipped and not _stays(unit, first)
    ]


def good(before: Sequence[Unit], first: Sequence[Unit], now: Sequence[Unit]) -> Check:
    """What became of them, where none is fallen."""
    units = {unit.name: unit for unit in now}
    found: dict[str, list[str]] = {
        "restarted": [],
        "failing as before": [],
        "not in this release": [],
    }
    for name in (each.name for each in before):
        unit = units.get(name)  # systemd forgets one that is neither enabled nor runs
        if unit is None or unit.skipped:
            found["not in this release"].append(name)
        else:
            found["restarted" if _stays(unit, first) else "failing as before"].append(name)
    detail = "; ".join(f"{what}: {', '.join(names)}" for what, names in found.items() if names)
    return Check(name="consumers", ok=True if found["restarted"] else None, detail=detail)


def _stays(unit: Unit, first: Sequence[Unit]) -> bool:
    """Whether it runs, as the process that it was at first."""
    return unit.state == "active" and unit.pid in [
        each.pid for each in first if each.name == unit.name
    ]
