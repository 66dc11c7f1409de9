"""When a failed event is tried again, and when it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How often, and after which pauses."""

    attempts: int
    first: float = 0.5  # seconds after the first attempt
    factor: float = 2.0
    longest: float = 30.0  # seconds

    def exhausted(self, attempts: int) -> bool:
        """Whether none is left after so many."""
        return attempts >= self.attempts

    def pause(self, attempts: int, luck: float) -> float:
        """Seconds until the next one, after so many; `luck` is from 0 to 1.

        Half of it is random, so that what failed together is not tried together: “equal jitter”
        of M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015.
        """
        # The exponent is bounded: an outage that lasts would overflow a float.
        full = min(self.longest, self.first * self.factor ** min(attempts - 1, 64))
        return full / 2 + full / 2 * luck


# While something that all events need is away; no attempt is spent, so it never ends.
OUTAGE = Policy(attempts=2**63, first=0.5, longest=10.0)
