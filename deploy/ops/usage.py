"""What the kernel knows of a worker's process, as far as it may be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a process uses; None where there is no process, or it is not ours to look into."""

    cpu_percent: float | None = None  # of one CPU
    rss: int | None = None  # bytes
    pss: int | None = None  # bytes; memory shared by n processes counts 1/n


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a process holds."""

    threads: int | None = None
    open_files: int | None = None  # descriptors, sockets too


def begin(pid: int) -> psutil.Process | None:
    """Starts the measurement of its CPU time."""
    import psutil

    try:
        process = psutil.Process(pid)
        process.cpu_percent()  # the first call only starts the measurement
    except psutil.Error:
        return None
    return process


def measure(process: psutil.Process | None, uptime: float | None) -> Usage:
    """CPU since `begin`, or on average over `uptime`; resident and proportional set size."""
    import psutil

    if process is None:
        return Usage()
    try:
        if uptime is None:
            cpu = process.cpu_percent()
        else:
            times = process.cpu_times()
            cpu = 100 * (times.user + times.system) / uptime if uptime else 0.0
        rss = process.memory_info().rss
    except psutil.Error:
        return Usage()
    try:
        return Usage(cpu_percent=cpu, rss=rss, pss=process.memory_full_info().pss)
    except psutil.Error:  # another user's process
        return Usage(cpu_percent=cpu, rss=rss)


def count(process: psutil.Process | None) -> Counts:
    """Its threads and open files."""
    import psutil

    if process is None:
        return Counts()
    try:
        threads = process.num_threads()
    except psutil.Error:
        return Counts()
    try:
        return Counts(threads=threads, open_files=process.num_fds())
    except psutil.Error:  # another user's process
        return Counts(threads=threads)
