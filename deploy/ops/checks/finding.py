"""What a check says: a verdict, the fact behind it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """How it stands, the worst last."""

    SKIPPED = 0  # it does not apply here, or cannot be looked at
    OK = 1
    WARN = 2
    FAIL = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One verdict; `next_step` says what to do about a warning or a failure."""

    verdict: Verdict
    detail: str
    next_step: str = ""


def ok(detail: str) -> Finding:
    """All is well."""
    return Finding(verdict=Verdict.OK, detail=detail)


def warn(detail: str, next_step: str) -> Finding:
    """It works, and it will bite."""
    return Finding(verdict=Verdict.WARN, detail=detail, next_step=next_step)


def fail(detail: str, next_step: str) -> Finding:
    """It does not work, or it is not safe."""
    return Finding(verdict=Verdict.FAIL, detail=detail, next_step=next_step)


def skip(why: str) -> Finding:
    """It does not apply here, or cannot be looked at."""
    return Finding(verdict=Verdict.SKIPPED, detail=why)


def together(findings: Sequence[Finding]) -> Finding:
    """The worst of several, with the details of all that are no better than a warning.

    Without any of those: all that is well; nothing to say at all is no finding, so give one.
    """
    worst = max(findings, key=lambda each: each.verdict)
    bad = [each for each in findings if each.verdict >= Verdict.WARN]
    said = bad or [each for each in findings if each.verdict == worst.verdict]
    said.sort(key=lambda each: -each.verdict)
    return Finding(
        verdict=worst.verdict,
        detail="; ".join(each.detail for each in said),
        next_step=next((each.next_step for each in said if each.next_step), ""),
    )
