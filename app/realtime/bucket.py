"""How fast a client may go. Pure: the caller brings the time."""

from __future__ import annotations


class Bucket:
    """`burst` at once, `rate` a second in the long run; times are seconds of one clock."""

    def __init__(self, *, rate: float, burst: int, now: float):
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed; one that is not costs nothing."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
