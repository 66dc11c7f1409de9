"""Memory that is freed and taken again, in a process of its own: the kernel counts its faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cluster import ROOT

TIMES = 200
# A block of 1 MiB has 256 pages.
PROGRAM = f"""
import resource, threading
from deploy.cluster import allocator

def work():
    for _ in range({TIMES}):
        bytearray(1 << 20)

allocator.keep_freed_memory()
for run in (work, work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def faults(**environ: str) -> int:
    kept = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


def test_a_thread_takes_its_large_buffers_from_what_it_has_freed() -> None:
    assert faults() < 10 * TIMES


@pytest.mark.parametrize("value", ["131072", "262144"])
def test_what_the_operator_has_set_stays(value: str) -> None:
    assert faults(MALLOC_MMAP_THRESHOLD_=value, MALLOC_TRIM_THRESHOLD_=value) > 100 * TIMES
