"""Events a second, of late. Pure but for what it remembers."""

from __future__ import annotations

from collections import deque

_WINDOW = 60.0  # seconds


class Throughput:
    """Adds up what was done within the last minute; times are monotonic seconds."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, int]] = deque()
        self._since: float | None = None

    def add(self, count: int, now: float) -> None:
        """So many at once."""
        if self._since is None:
            self._since = now
        last = self._done[-1] if self._done else None
        if last is not None and now - last[0] < 1.0:
            self._done[-1] = (last[0], last[1] + count)
        else:
            self._done.append((now, count))

    def per_second(self, now: float) -> float:
        """The mean of the last minute, or of the time since the first if that is less."""
        while self._done and self._done[0][0] < now - _WINDOW:
            self._done.popleft()
        if self._since is None:
            return 0.0
        seconds = min(_WINDOW, max(1.0, now - self._since))
        return sum(count for _, count in self._done) / seconds
