"""glibc's malloc: what a worker has freed it keeps for the next request.

By default malloc gives back to the kernel what is free at the end of a heap beyond 128 KiB, and
maps each block over 128 KiB anew. Then a request with a body of 1 MiB costs a page fault for each
4 KiB that it touches, every time: two thirds of its CPU time (the upload in `bench.peers`).
"""

from __future__ import annotations

import ctypes
import os

TRIM_BYTES = 8 * 1024 * 1024  # free at the end of a heap, which a thread may have of its own
MMAP_BYTES = 2 * 1024 * 1024  # of one block
# mallopt(3); setting either ends glibc's own adjustment of both.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_OF_THE_OPERATOR = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """For this process and those that it forks; not where the environment tunes malloc itself.

    Without effect where malloc is not glibc's.
    """
    if any(name in os.environ for name in _OF_THE_OPERATOR):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
