"""All of it at once, with kills at random moments; `make soak` does twenty times as many."""

from __future__ import annotations

import redis

from app.consumers.admin_stub import AdminStub
from tests.events.soak import soak
from tests.events.stage import Stage
from tests.redis.server import RedisServer


def test_consumers_killed_again_and_again_leave_every_row_once(
    stage: Stage, admin: AdminStub, redis_server: RedisServer
) -> None:
    stage.configure(redis_url=redis_server.url)
    with redis.Redis.from_url(redis_server.url) as cache:
        report = soak(stage, admin, cache, events=1000, kills=4)
    assert report.faults == []
    assert report.kills == 4
