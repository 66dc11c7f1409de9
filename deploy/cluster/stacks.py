"""Where every thread of this process is."""

from __future__ import annotations

import sys
import threading
import traceback


def of_all_threads() -> str:
    """The stacks of all threads, each under its name; the one that asks comes last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sorted(
        sys._current_frames().items(),  # noqa: SLF001 - the documented way
        key=lambda item: item[0] == threading.get_ident(),
    )
    return "\n".join(
        f"Thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in frames
    )
