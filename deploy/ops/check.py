"""One thing that a validation looked at, and what it saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """`ok` is None for what cannot be asked here; that counts neither way."""

    name: str  # processes, health, session, journal, cpu
    ok: bool | None
    detail: str  # one line

    def __str__(self) -> str:
        word = "-" if self.ok is None else "ok" if self.ok else "FAILED"
        return f"{word:<7}{self.name:<11}{self.detail}"


def failures(checks: Sequence[Check]) -> list[Check]:
    """Those that failed."""
    return [check for check in checks if check.ok is False]


def reason(checks: Sequence[Check]) -> str:
    """Why the validation failed, in one line; empty when it did not."""
    return "; ".join(f"{check.name}: {check.detail}" for check in failures(checks))
