"""The consumers that run beside the service: each the release that it was started with."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from deploy.ops import systemd
from deploy.ops.change import Say
from deploy.ops.check import Check
from deploy.ops.consumer_unit import PROGRAM, PROPERTIES, Unit, fallen, good, unit_of
from deploy.ops.errors import OperationError
from deploy.ops.terminal import printable
from deploy.ops.waiting import Progress, looks

_STEADY_SECONDS = 5.0  # who cannot begin has ended by then
_LOOK_SECONDS = 0.25
_LETTERS = 200  # of what it said last


class Followers:
    """The consumers' units of one installation."""

    def __init__(self, root: Path):
        self._root = root
        self._moved: Sequence[Unit] = ()  # as they were before

    def plan(self) -> list[str]:
        """The step in words; none where no consumer runs here."""
        names = ", ".join(unit.name for unit in self._to_restart())
        return [f"restart the consumers, and see that they stay: {names}"] if names else []

    def follow(self, say: Say) -> list[Check]:
        """Restarts them onto what `current` leads to; no check where none runs."""
        self._moved = self._to_restart()
        return [self._restart(say)] if self._moved else []

    def back(self, say: Say) -> None:
        """The same for those that `follow` has restarted; raises OperationError when one fails."""
        if not self._moved:
            return
        check = self._restart(say)
        if check.ok is False:
            step = f"see why with: journalctl -u '{unit_of('*')}' -n 50"
            raise OperationError(f"consumers: {check.detail}", step)

    def _restart(self, say: Say) -> Check:
        """Each finishes what is under way, and begins anew; raises SystemdError."""
        cursor = ""
        with contextlib.suppress(systemd.SystemdError):
            cursor = systemd.cursor()
        systemd.job("restart", *(unit_of(unit.name) for unit in self._moved))
        first = now = self._all()
        line = Progress()
        try:
            for passed in looks(_STEADY_SECONDS, _LOOK_SECONDS):
                line.show(f"Waiting whether the consumers stay, {passed:.0f} s")
                now = self._all()
                if fallen(self._moved, first, now):
                    break
        finally:
            line.clear()
        ended = [
            f"{unit.name} ended with {unit.end}{_said(unit, cursor)}"
            for unit in fallen(self._moved, first, now)
        ]
        check = good(self._moved, first, now)
        if ended:
            check = Check(name="consumers", ok=False, detail="; ".join(ended))
        say(str(check))
        return check

    def _to_restart(self) -> list[Unit]:
        there = (self._root / "current" / PROGRAM).is_file()
        return [unit for unit in self._all() if unit.to_restart(there=there)]

    def _all(self) -> list[Unit]:
        if not systemd.booted():
            return []
        return [
            Unit.read(facts)
            for facts in systemd.every(unit_of("*"), *PROPERTIES)
            if Path(facts["WorkingDirectory"]).is_relative_to(self._root)
        ]


def _said(unit: Unit, cursor: str) -> str:
    """The last line of the process that ended, in brackets; empty when it cannot be seen."""
    last = ""
    with contextlib.suppress(systemd.SystemdError):
        for entry in systemd.entries(unit_of(unit.name), after=cursor) if cursor else ():
            message = entry.get("MESSAGE")
            if entry.get("_PID") == str(unit.last_pid) and isinstance(message, str):
                last = message.strip() or last
    return f" ({printable(last[:_LETTERS])})" if last else ""
