"""A memory control group of the test's own (cgroups(7)), which needs root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wait import wait_until

# Control groups of version 1, then 2: where, the file with the limit, the file of its members.
_KINDS = [
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "tasks"),
    (Path("/sys/fs/cgroup"), "memory.max", "cgroup.procs"),
]


@contextmanager
def memory_group(size: int) -> Iterator[list[str]]:
    """The words that run a command in a group of at most `size` bytes."""
    mount, limit, members = next(
        (kind for kind in _KINDS if (kind[0] / "cgroup.procs").exists()), _KINDS[0]
    )
    group = mount / f"smart-factory-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(size))
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no memory control group may be made here: {error}")
    try:
        yield ["sh", "-c", f'echo $$ > {group / members} && exec "$@"', "sh"]
    finally:
        wait_until(lambda: not (group / members).read_text(), what="the group to be empty")
        group.rmdir()
