"""Redis for tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis.server import RedisServer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running Redis of the test's own, which the test may stop, kill and start at will."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()
