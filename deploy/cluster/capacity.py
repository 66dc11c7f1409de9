"""How many workers this machine, and its database, can take. Pure: `cgroup.py` measures."""

from __future__ import annotations

import math


def available_cpus(affinity: int, quota: float | None) -> int:
    """The CPUs this process may use: those it may run on, less what a cgroup's quota withholds.

    `quota` is in CPUs (1.5: one and a half). A part of a CPU counts as none: a worker more than
    the quota feeds is throttled with all the others.
    """
    if quota is None:
        return max(1, affinity)
    return max(1, min(affinity, math.floor(quota)))


def worker_count(asked: int | str | None, cpus: int) -> int:
    """The workers to start: those asked for, all CPUs for 'max', else one less than the CPUs.

    One CPU is left to the kernel, the proxy and the database; there is always a worker.
    """
    if asked is None:
        return max(1, cpus - 1)
    return cpus if asked == "max" else int(asked)


def cpu_warning(workers: int, cpus: int) -> str | None:
    """Says when more workers are asked for than there are CPUs."""
    if workers <= cpus:
        return None
    return (
        f"{workers} workers on {cpus} CPU(s): they take turns. "
        "Set CLUSTER_WORKERS=max for one worker a CPU, or raise THREADS for requests that wait"
    )


def memory_warning(workers: int, worker_bytes: int, limit: int | None) -> str | None:
    """Says when all workers at WORKER_MAX_RSS (`worker_bytes`, 0: no limit) exceed the memory."""
    if not worker_bytes or limit is None or workers * worker_bytes <= limit:
        return None
    mebibyte = 1024 * 1024
    return (
        f"{workers} workers × WORKER_MAX_RSS={worker_bytes // mebibyte}M = "
        f"{workers * worker_bytes // mebibyte}M, but {limit // mebibyte}M of memory may be used: "
        "lower one of the two"
    )


def connections_warning(workers: int, pool_max: int, allowed: int) -> str | None:
    """Says when full pools of all workers exceed the connections that Postgres grants."""
    if workers * pool_max <= allowed:
        return None
    return (
        f"{workers} workers × DATABASE_POOL_MAX={pool_max} = {workers * pool_max} connections, "
        f"but Postgres allows {allowed}: lower one of the two, or raise max_connections"
    )
