"""How many users there are, second by second; pure.

The generator asks once a second (see `loadtests/locustfile.py`), so a shape of a few seconds is
coarse.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

_GENTLE_SECONDS = 30.0  # at most, for a soak to reach its users


@dataclass(frozen=True)
class Shape(ABC):
    """At most `users` users during `seconds`."""

    users: int
    seconds: float

    def at(self, second: float) -> int | None:
        """The number of users at that second of the run, at least 1; None when it is over."""
        if second >= self.seconds:
            return None
        return max(1, min(self.users, math.ceil(self.users * self._share(second / self.seconds))))

    @abstractmethod
    def _share(self, part: float) -> float:
        """The share of the users, 0 to 1, when that part of the run is over."""


class Steady(Shape):
    """All users from the first second: what the figures of two servers are compared by."""

    def _share(self, _: float) -> float:
        return 1.0


class Ramp(Shape):
    """More and more users, all of them for the last fifth: where does latency begin to rise?"""

    def _share(self, part: float) -> float:
        return part / 0.8


class Spike(Shape):
    """A quarter of the users, suddenly all for the middle fifth: how soon is it as before?"""

    def _share(self, part: float) -> float:
        return 1.0 if 0.4 <= part < 0.6 else 0.25


class Soak(Shape):
    """All users, come gently, for as long as you have: does memory grow, does latency?"""

    def _share(self, part: float) -> float:
        return part / min(0.1, _GENTLE_SECONDS / self.seconds)


SHAPES: dict[str, type[Shape]] = {
    "steady": Steady,
    "ramp": Ramp,
    "spike": Spike,
    "soak": Soak,
}
