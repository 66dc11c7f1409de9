"""Real clusters for the tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three ready workers that serve an application which is not ours."""
    with Cluster(tmp_path, app="plain:app") as running:
        yield running


@contextlib.contextmanager
def gate(file: Path) -> Iterator[str]:
    """What to ask that application for, which answers when the block has ended."""
    file.touch()
    try:
        yield f"/gate?{file}"
    finally:
        file.unlink()
