"""The connections that wait in a listener's queue when its last workers leave.

The kernel has accepted them for us; closing the listener would reset them (Gunicorn #3397).
"""

from __future__ import annotations

import select
import time
from typing import Any

# Accepted beyond those who wait at the beginning. A service that is not overloaded has emptied its
# queue long before; one that is must come to an end, and then whoever came last is reset.
_LATE = 64
# A Unix socket does not tell how many wait; this is Gunicorn's own limit for them.
_UNKNOWN = 2048


def serve(worker: Any) -> None:
    """Accepts what waits at the worker's listeners, and closes them.

    `worker` is one of Gunicorn's that has `accept`; it spends GRACEFUL_TIMEOUT at most.
    """
    deadline = time.monotonic() + worker.cfg.graceful_timeout
    for listener in worker.sockets:
        waiting = listener.get_backlog()
        _accept(worker, listener, (waiting if waiting >= 0 else _UNKNOWN) + _LATE, deadline)
        listener.close()


def close(worker: Any) -> None:
    """The worker listens no more; who shares its listeners still does."""
    for listener in worker.sockets:
        listener.close()


def _accept(worker: Any, listener: Any, most: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    for _ in range(most):
        if not poll.poll(0) or time.monotonic() >= deadline:
            return
        try:
            worker.accept(listener)
        except BlockingIOError:  # another worker was faster
            return
        except OSError as error:
            worker.log.debug("A waiting connection was lost: %s", error)
