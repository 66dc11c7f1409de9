"""Answers that wait for the others of their turn, and are then sent one after the other.

Sending is the kernel's work for some tens of microseconds, and throws the application out of the
processor's caches; so it is done once for several requests. An answer waits only while others are
at hand, for HELD_SECONDS at most, and only where requests have been quick lately: what goes on
after it is most likely soon done. Where it is not, the watcher has the answers sent.
"""

from __future__ import annotations

from collections import deque

from deploy.cluster.adaptive.connection import Connection

HELD_SECONDS = 0.002
QUICK_SECONDS = 0.002
_WARY = 16  # requests after one that was not quick


class Held:
    """The connections whose answers wait. A connection stays busy until its answer is sent.

    The thread that answers and the one that sends may be two, in either order: who comes second
    has the connection go on (see `Connection.meet`). A deque's ends are safe from any thread.
    """

    def __init__(self) -> None:
        self._connections: deque[Connection] = deque()
        self._since = 0.0
        self._wary = 0

    def __bool__(self) -> bool:
        return bool(self._connections)

    @property
    def quick(self) -> bool:
        """Whether the next request is most likely soon done."""
        return not self._wary

    def took(self, seconds: float) -> None:
        """A request took so long."""
        if seconds >= QUICK_SECONDS:
            self._wary = _WARY
        elif self._wary:
            self._wary -= 1

    def hold(self, connection: Connection, data: bytes, now: float) -> None:
        """Keeps a whole answer; `now` is when its request began."""
        if not self._connections:
            self._since = now
        connection.hold(data)
        self._connections.append(connection)

    def due(self, now: float) -> bool:
        """Whether the first of them has waited long enough."""
        return bool(self._connections) and now - self._since >= HELD_SECONDS

    def take(self) -> Connection | None:
        """The one that has waited longest."""
        try:
            return self._connections.popleft()
        except IndexError:
            return None

    def put_back(self, connection: Connection) -> None:
        """It could not be sent whole yet."""
        self._connections.appendleft(connection)
