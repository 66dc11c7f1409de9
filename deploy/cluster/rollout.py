"""What to do next in a reload, from what is observed. Pure: no clock, no process, no log.

A candidate mold loads the new release; one canary forked from it answers the probe; then slot by
slot a new worker becomes ready and the old one drains (`slots.py`). Until the end the old release
can take over again, and the candidate's failure at any point makes it do so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Phase(Enum):
    """How far a reload has come."""

    LOADING = auto()  # the candidate reads its configuration and loads the application
    PROBING = auto()  # the canary answers
    REPLACING = auto()  # the workers are replaced, one slot after the other
    RETURNING = auto()  # replaced slots go back to the good release


class Action(Enum):
    """What the arbiter does next."""

    WAIT = auto()
    PROBE = auto()  # fork the canary
    REPLACE = auto()  # begin to replace the workers
    COMMIT = auto()  # the candidate becomes the good mold
    RETURN = auto()  # the good release takes the replaced slots back
    REFUSE = auto()  # the reload is over, and nothing has changed


@dataclass(frozen=True)
class Step:
    """An action, and why when it is not the way forward."""

    action: Action
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What there is to see of a candidate at one moment."""

    loaded: bool = False  # its mold says that it is ready
    failure: str = ""  # of the mold, the canary or a worker of the candidate
    passed: bool = False  # the canary's verdict
    settled: bool = False  # every slot has its ready worker, and no other
    overdue: bool = False  # the return has taken too long to be waited for


def next_step(phase: Phase, observed: Observed, *, probe: bool) -> Step:
    """What follows in `phase`; `probe`: whether the candidate has to answer it."""
    if phase is Phase.RETURNING:
        done = observed.settled or observed.overdue
        return Step(Action.REFUSE if done else Action.WAIT)
    if observed.failure:
        action = Action.RETURN if phase is Phase.REPLACING else Action.REFUSE
        return Step(action, observed.failure)
    if phase is Phase.LOADING and observed.loaded:
        return Step(Action.PROBE if probe else Action.REPLACE)
    if phase is Phase.PROBING and observed.passed:
        return Step(Action.REPLACE)
    if phase is Phase.REPLACING and observed.settled:
        return Step(Action.COMMIT)
    return Step(Action.WAIT)
