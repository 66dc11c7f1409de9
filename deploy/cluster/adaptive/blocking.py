"""Which requests are known to wait long, so that the lead is passed on before they begin."""

from __future__ import annotations

import re

# A segment of a path with a digit in it names one of many things.
_ONE_OF_MANY = re.compile(r"[^/]*\d[^/]*")
_TIMES = 64
_ROUTES_MOST = 1024
# To wake another thread costs some 50 us, on the same CPU 10: what waits longer than a few times
# that is worth it.
_WORTH_SECONDS, _WORTH_ON_ONE_CPU_SECONDS = 0.0005, 0.0001
_MOSTLY = 0.75


def route_of(method: str, path: str) -> str:
    """What requests that do the same have in common, as far as a path tells."""
    return f"{method} {_ONE_OF_MANY.sub('*', path)}"


def worth_passing_on(cpus: int) -> float:
    """How many seconds a request must wait for others to be worth another thread."""
    return _WORTH_ON_ONE_CPU_SECONDS if cpus == 1 else _WORTH_SECONDS


def has_waited(seconds: float, worked: float, *, worth: float, alone: bool) -> bool:
    """Whether a request of so many seconds, in which its thread worked so long, waited for others.

    Not `alone` it waited for the interpreter's lock as well: then it must have waited mostly.
    """
    waited = seconds - worked
    return waited >= worth and (alone or waited >= seconds * _MOSTLY)


class BlockingRoutes:
    """Empty, and free of cost, while all requests are short.

    A route is known after two looks in a row at which it waited: once, anybody may wait for a CPU.
    After some requests one more look decides whether it still does.
    """

    def __init__(self) -> None:
        self._left: dict[str, int] = {}  # how many requests are still expected to wait
        self._in_doubt: set[str] = set()  # the next look decides

    def __len__(self) -> int:
        return len(self._left)

    @property
    def in_doubt(self) -> bool:
        """Whether also a look at a request that did not wait says something."""
        return bool(self._in_doubt)

    def expects(self, method: str, path: str) -> bool:
        """Whether requests like this one waited long lately."""
        route = route_of(method, path)
        left = self._left.get(route, 0)
        if left > 1:
            self._left[route] = left - 1
        elif left:
            self._left.pop(route, None)
            self._doubt(route)
        return left > 0

    def learn(self, method: str, path: str, waited: bool) -> None:
        """A look at a request that was not expected to wait."""
        route = route_of(method, path)
        if waited and route not in self._in_doubt:
            self._doubt(route)
            return
        self._in_doubt.discard(route)
        if waited:
            if len(self._left) >= _ROUTES_MOST:
                self._left.clear()
            self._left[route] = _TIMES

    def _doubt(self, route: str) -> None:
        if len(self._in_doubt) >= _ROUTES_MOST:
            self._in_doubt.clear()
        self._in_doubt.add(route)
