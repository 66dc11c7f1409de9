from __future__ import annotations

import functools
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
import redis

from app.consumers.cache import Cache
from app.events import Envelope
from app.events.handler import Rejected
from tests.app.bare_server import Connection as Client
from tests.app.bare_server import serving
from tests.app.chain import carry_out, changed, created, migrated
from tests.app.conftest import records_of
from tests.cluster import ROOT, free_port
from tests.redis.server import RedisServer
from tests.wait import wait_until

LONG = 60.0  # seconds: a Redis that hangs would be waited for without end


@contextmanager
def cache_at(url: str | None) -> Iterator[Cache]:
    cache = Cache(redis_url=url)
    yield cache
    cache.close()


def invalidate(cache: Cache, event: Envelope) -> float:
    """Calls as the framework does, and says how many seconds that took."""
    began = monotonic()
    fact = cache.read(event)
    assert cache.call(event, fact) == fact
    return monotonic() - began


def put(server: RedisServer, *keys: str) -> None:
    for key in keys:
        server.ask("SET", key, "cached")


def keys(server: RedisServer) -> list[str]:
    return sorted(server.ask("KEYS", "*").split())


def test_the_pages_of_the_student_are_removed_and_no_others(redis_server: RedisServer) -> None:
    others = [
        "student:home:s-2",
        "student:learning:s-2",
        "student:profile:s-1",
        "student:home:s-11",
    ]
    put(redis_server, "student:home:s-1", "student:learning:s-1", *others)
    with cache_at(redis_server.url) as cache, records_of("app.consumers") as records:
        invalidate(cache, created("s-1"))
    assert keys(redis_server) == sorted(others)
    assert records == []


def test_it_can_be_repeated_and_pages_may_be_gone_already(redis_server: RedisServer) -> None:
    put(redis_server, "student:learning:s-1")
    with cache_at(redis_server.url) as cache, records_of("app.consumers") as records:
        for _ in range(3):
            invalidate(cache, created("s-1"))
    assert keys(redis_server) == []
    assert records == []


def test_an_id_of_any_kind(redis_server: RedisServer) -> None:
    student = "a b\r\nDEL *ä\N{GRINNING FACE}"
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(f"student:home:{student}", "cached")
        client.set("other", "stays")
        with cache_at(redis_server.url) as cache:
            invalidate(cache, created(student))
        assert client.keys() == [b"other"]


def test_both_pages_are_one_command(redis_server: RedisServer) -> None:
    with cache_at(redis_server.url) as cache:
        invalidate(cache, created("s-1"))
        redis_server.ask("CONFIG", "RESETSTAT")
        for _ in range(5):
            invalidate(cache, created("s-1"))
    stats = redis_server.ask("INFO", "commandstats")
    assert "cmdstat_unlink:calls=5," in stats
    assert "cmdstat_hello" not in stats, "the connection is kept"


def test_many_threads_may_call_it(redis_server: RedisServer) -> None:
    students = [f"s-{n}" for n in range(200)]
    put(redis_server, *(f"student:home:{student}" for student in students[:50]), "other")
    with cache_at(redis_server.url) as cache, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda student: invalidate(cache, created(student)), students))
    assert keys(redis_server) == ["other"]


def test_a_password_and_another_database(redis_server: RedisServer) -> None:
    redis_server.ask("CONFIG", "SET", "requirepass", "a secret:/")
    url = f"redis://:a%20secret%3A%2F@127.0.0.1:{redis_server.port}/3"
    with redis.Redis.from_url(url) as client, cache_at(url) as cache:
        client.set("student:home:s-1", "cached")
        invalidate(cache, created("s-1"))
        assert client.keys() == []
        with cache_at(redis_server.url) as denied, records_of("app.consumers") as records:
            invalidate(denied, created("s-1"))
    (record,) = records
    assert "AuthenticationError" in record.getMessage()
    assert "a secret" not in record.getMessage()


# --- Redis is away


def warned(run: Callable[[], object]) -> list[Any]:
    """The fields of the warnings that are logged meanwhile."""
    with records_of("app.consumers") as records:
        run()
    assert {record.levelname for record in records} <= {"WARNING"}
    return [vars(record) for record in records]


def heard(cache: Cache, student: str) -> bool:
    return warned(lambda: invalidate(cache, created(student))) == []


def test_a_redis_that_is_down_is_a_warning_and_nothing_more() -> None:
    event = created("s-1")
    with cache_at(f"redis://127.0.0.1:{free_port()}") as cache:
        (fields,) = warned(lambda: invalidate(cache, event))
    assert fields["event"] == "cache.not_invalidated"
    assert fields["correlation_id"] == str(event.correlation_id)
    assert fields["event_id"] == str(event.event_id)
    assert fields["args"][0] == "s-1"
    assert "Connection refused" in fields["args"][1]


def hangs(connection: Client, _: int) -> None:
    connection.hang()


def test_a_redis_that_hangs_is_asked_at_most_three_times_and_then_once() -> None:
    with serving(hangs) as server, cache_at(server.url.replace("http", "redis")) as cache:
        began = monotonic()
        assert len(warned(lambda: invalidate(cache, created("s-1")))) == 1
        assert 0.9 < monotonic() - began < LONG
        wait_until(lambda: server.connections, what="the connections to be accepted")
        assert server.connections <= 3
        before, began = server.connections, monotonic()
        assert len(warned(lambda: invalidate(cache, created("s-2")))) == 1
        if monotonic() - began < 3:  # the outage is remembered for 5 s
            assert server.connections <= before + 1


def test_a_redis_that_refuses_is_asked_three_times_and_then_once() -> None:
    def refuses(connection: Client, _: int) -> None:
        connection.send(b"-LOADING Redis is loading the dataset in memory\r\n")
        connection.hang()

    with serving(refuses) as server, cache_at(server.url.replace("http", "redis")) as cache:
        began = monotonic()
        for n in (1, 2, 3):
            event = created(f"s-{n}")
            assert len(warned(functools.partial(invalidate, cache, event))) == 1
        if monotonic() - began < 3:  # else there is no further try
            assert server.connections == 3 + 1 + 1


def test_when_redis_is_back_it_is_asked_again(redis_server: RedisServer) -> None:
    with cache_at(redis_server.url) as cache:
        invalidate(cache, created("s-1"))
        redis_server.kill()
        assert len(warned(lambda: invalidate(cache, created("s-1")))) == 1
        redis_server.start()
        put(redis_server, "student:home:s-1", "student:home:s-2")
        wait_until(lambda: heard(cache, "s-1"), what="Redis to be asked again")
        assert heard(cache, "s-2")
        assert keys(redis_server) == []


def test_a_redis_that_restarted_between_two_events_costs_nothing(redis_server: RedisServer) -> None:
    with cache_at(redis_server.url) as cache:
        invalidate(cache, created("s-1"))
        redis_server.stop()
        redis_server.start()
        put(redis_server, "student:home:s-1")
        assert heard(cache, "s-1")
    assert keys(redis_server) == []


def test_a_redis_that_is_frozen(redis_server: RedisServer) -> None:
    with cache_at(redis_server.url) as cache:
        invalidate(cache, created("s-1"))
        with redis_server.frozen():
            assert len(warned(lambda: invalidate(cache, created("s-1")))) == 1
        put(redis_server, "student:home:s-1")
        wait_until(lambda: heard(cache, "s-1"), what="Redis to be asked again")
        assert keys(redis_server) == []


def test_a_name_that_is_none() -> None:
    with cache_at("redis://a..b:6379") as cache:
        assert len(warned(lambda: invalidate(cache, created()))) == 1


# --- no Redis


def test_without_redis_it_says_so_once() -> None:
    with cache_at(None) as cache, records_of("app.consumers") as records:
        events = [created() for _ in range(20)]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda event: invalidate(cache, event), events))
    (record,) = records
    assert record.getMessage() == "REDIS_URL is not set: no cache to invalidate"
    assert vars(record)["event"] == "cache.none"
    assert vars(record)["correlation_id"] in {str(event.correlation_id) for event in events}


def test_without_redis_its_library_is_not_loaded() -> None:
    code = (
        "import sys; from app.consumers.cache import Cache; Cache(redis_url=None);"
        "assert 'redis' not in sys.modules;"
        "Cache(redis_url='redis://127.0.0.1:1').close(); assert 'redis' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0


# --- and the rest of it


def test_nothing_is_written_or_told(database_url: str) -> None:
    with migrated(database_url) as connection, cache_at(None) as cache:
        assert carry_out(cache, connection, created(), created()) == []


@pytest.mark.parametrize("value", [..., None, "", 7, "x" * 201])
def test_a_bad_student_is_named(value: Any) -> None:
    with cache_at(None) as cache, pytest.raises(Rejected) as refusal:
        cache.read(changed(created(), student_id=value))
    assert str(refusal.value) == "student_id: must be a text of 1 to 200 characters, without NUL"


def test_a_shape_that_is_not_known_is_refused() -> None:
    with cache_at(None) as cache, pytest.raises(Rejected, match=r"^version: must be 1, not 2$"):
        cache.read(created(version=2))


def test_how_it_is_run() -> None:
    with cache_at(None) as cache:
        assert (cache.name, cache.group) == ("cache", "cache-invalidation-workers")
        assert (cache.type, cache.policy.attempts) == ("PURCHASE_CREATED", 3)
        assert cache.calls >= 1


def test_the_server_of_these_tests_is_for_this_machine_only(redis_server: RedisServer) -> None:
    assert redis_server.ask("CONFIG", "GET", "bind").split() == ["bind", "127.0.0.1"]
    assert redis_server.ask("CONFIG", "GET", "appendonly").split() == ["appendonly", "no"]
    with socket.create_connection(("127.0.0.1", redis_server.port), 30):
        pass
