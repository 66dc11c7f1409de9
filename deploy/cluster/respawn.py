"""When a slot whose worker died gets the next one: at once, or later in a crash loop. Pure.

The pauses grow as PM2's exponential back-off does (100 ms × 1.5ⁿ, at most 15 s) and are forgotten
after 30 s of life.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.1, 1.5, 15.0  # seconds
LIFE_THAT_FORGETS = 30.0  # seconds up
# So many crashes in a row are a loop, which is said once and shown as degraded.
CRASH_BUDGET = 10
# A ready worker that someone kills is no crash of its own, unless that goes on and on.
KILLS_FORGIVEN = 30


class Death(Enum):
    """What a worker's end says of its code."""

    KILLED = auto()  # by SIGKILL or the like, while it was ready
    CRASHED = auto()  # by itself, while it was ready
    UNBORN = auto()  # it was never ready


@dataclass(frozen=True)
class History:
    """The deaths of a slot's workers, as far as they count."""

    crashes: int = 0  # in a row
    kills: int = 0  # in a row

    @property
    def exhausted(self) -> bool:
        """The slot is in a crash loop."""
        return self.crashes >= CRASH_BUDGET


def after(history: History, death: Death, uptime: float) -> tuple[History, float]:
    """The slot's new history, and the pause (seconds) before its next worker."""
    if uptime >= LIFE_THAT_FORGETS and death is not Death.UNBORN:  # it was alive, not booting
        history = History()
    if death is Death.KILLED and history.kills < KILLS_FORGIVEN:
        return replace(history, kills=history.kills + 1), 0.0
    counted = replace(history, crashes=history.crashes + 1)
    # The first crash of a worker that had been ready costs no pause: it may be the only one.
    return counted, pause(counted.crashes - (death is not Death.UNBORN))


def pause(crashes: int) -> float:
    """Seconds to wait after so many crashes in a row."""
    if crashes <= 0:
        return 0.0
    # The exponent is capped where the pause is: a float would overflow at some thousand crashes.
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * GROWTH ** min(crashes - 1, 20)))
