"""A check: a name, a promise, and a function that looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.ops.checks.context import Context
from deploy.ops.checks.finding import Finding


@dataclass(frozen=True)
class Check:
    """One check; `look` changes nothing, and raises what `examination` turns into a finding."""

    name: str
    group: str
    promise: str  # what is true when it is ok
    look: Callable[[Context], Finding]
