"""Which requests are known to take long, so that the lead is passed on before they begin."""

from __future__ import annotations

import re

# A segment of a path with a digit in it names one of many things.
_ONE_OF_MANY = re.compile(r"[^/]*\d[^/]*")
_CREDIT = 8  # short answers in a row until a route counts as short again
_ROUTES_MOST = 1024


def route_of(method: str, path: str) -> str:
    """What requests that do the same have in common, as far as a path tells."""
    return f"{method} {_ONE_OF_MANY.sub('*', path)}"


class BlockingRoutes:
    """Learns from what was measured; empty, and free of cost, while all requests are short."""

    def __init__(self, *, long: float, short: float):
        self.long = long  # seconds from which on a request is long
        self._short = short
        self._credits: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._credits)

    def expects(self, method: str, path: str) -> bool:
        """Whether requests like this took long lately."""
        return route_of(method, path) in self._credits

    def learn(self, method: str, path: str, seconds: float) -> None:
        """A request took so long: call it for long ones, and for expected ones."""
        route = route_of(method, path)
        if seconds >= self.long:
            if len(self._credits) >= _ROUTES_MOST:
                self._credits.clear()
            self._credits[route] = _CREDIT
        elif seconds < self._short and route in self._credits:
            left = self._credits[route] - 1
            if left:
                self._credits[route] = left
            else:
                del self._credits[route]
