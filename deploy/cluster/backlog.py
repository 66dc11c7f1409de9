"""The connections that wait in a listener's queue when its last worker leaves.

The kernel has accepted them for us; closing the listener would reset them (Gunicorn #3397).
"""

from __future__ import annotations

import select
import time
from typing import Any

# Long enough for any queue, short enough that clients who keep coming do not keep us.
_SECONDS = 1.0


def serve(worker: Any) -> None:
    """Accepts what waits at the worker's listeners, and closes them."""
    deadline = time.monotonic() + _SECONDS
    for listener in worker.sockets:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while poll.poll(0) and time.monotonic() < deadline:
            try:
                worker.accept(listener)
            except BlockingIOError:  # another worker was faster
                break
            except OSError as error:
                worker.log.debug("A waiting connection was lost: %s", error)
    for listener in worker.sockets:
        listener.close()
