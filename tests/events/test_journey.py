"""From a confirmed payment to a course, over HTTP and through all four consumers."""

from __future__ import annotations

import redis

from app import create_app
from app.consumers import pipeline
from app.consumers.admin_stub import AdminStub
from tests.events.stage import Stage
from tests.redis.server import RedisServer

KEYS = ("student:home:s-1", "student:learning:s-1")


def test_a_payment_becomes_a_purchase_an_allocation_seven_sessions_and_an_empty_cache(
    stage: Stage, admin: AdminStub, redis_server: RedisServer
) -> None:
    stage.configure(redis_url=redis_server.url)
    stage.consumer(*pipeline.NAMES)
    with redis.Redis.from_url(redis_server.url) as cache:
        for key in (*KEYS, "student:home:s-2"):
            cache.set(key, "cached")
        body = {
            "provider_payment_id": "pay_1",
            "student_id": "s-1",
            "course_id": "c-1",
            "amount": 49.9,
        }
        client = create_app(stage.config).test_client()
        answer = client.post("/api/payments/confirm", json=body)
        assert answer.status_code == 202
        stage.wait_count("course_sessions", 7)
        stage.wait_quiet()
        assert cache.exists(*KEYS) == 0
        assert cache.exists("student:home:s-2") == 1
    correlation_id = answer.get_json()["correlation_id"]
    assert stage.count("student_course_purchases", f"correlation_id = '{correlation_id}'") == 1
    assert stage.count("trainer_allocations", f"correlation_id = '{correlation_id}'") == 1
    assert stage.count("processed_events", f"correlation_id = '{correlation_id}'") == 4
    days = [day for (day,) in stage.rows("SELECT session_date FROM course_sessions")]
    assert not {day.isoweekday() for day in days} & {6, 7}
    assert [request["student_id"] for request in admin.allocations] == ["s-1"]


def test_redis_that_is_down_stops_nothing(stage: Stage, redis_server: RedisServer) -> None:
    stage.configure(redis_url=redis_server.url)
    redis_server.kill()
    consumer = stage.consumer("purchase", "cache")
    stage.pay("s-1", "c-1")
    stage.wait_count("processed_events", 1, "consumer = 'cache'")
    stage.wait_quiet()
    assert stage.count("dead_letter") == 0
    assert "student:home:s-1" in consumer.log or "Redis" in consumer.log
