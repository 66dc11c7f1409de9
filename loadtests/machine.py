"""Where a load test ran: what its figures cannot be read without."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = ("gunicorn", "Flask", "psycopg", "locust")


def describe(postgres: str) -> dict[str, str]:
    """Names and values for people, in order."""
    return {
        "CPUs": f"{len(os.sched_getaffinity(0))} × {_processor()}",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Postgres": postgres,
        **{name.capitalize(): _version(name) for name in _PACKAGES},
    }


def cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"
