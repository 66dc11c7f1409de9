"""Which requests are known to wait long, so that the lead is passed on before they begin."""

from __future__ import annotations

import re

# A segment of a path with a digit in it names one of many things.
_ONE_OF_MANY = re.compile(r"[^/]*\d[^/]*")
_TIMES = 64
_ROUTES_MOST = 1024


def route_of(method: str, path: str) -> str:
    """What requests that do the same have in common, as far as a path tells."""
    return f"{method} {_ONE_OF_MANY.sub('*', path)}"


class BlockingRoutes:
    """Empty, and free of cost, while all requests are short.

    A route is forgotten after some times and learnt anew if it still waits: threads that run beside
    each other wait for the interpreter's lock, so how long a request takes then says little.
    """

    def __init__(self) -> None:
        self._left: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._left)

    def expects(self, method: str, path: str) -> bool:
        """Whether requests like this one waited long lately."""
        route = route_of(method, path)
        left = self._left.get(route, 0)
        if left > 1:
            self._left[route] = left - 1
        elif left:
            self._left.pop(route, None)
        return left > 0

    def learn(self, method: str, path: str) -> None:
        """A request waited long."""
        if len(self._left) >= _ROUTES_MOST:
            self._left.clear()
        self._left[route_of(method, path)] = _TIMES
