"""The bus in Postgres: each group gets each message, one member at a time, until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.db import Connection
from app.events import Envelope, outbox, postgres_deliveries, postgres_subscription
from app.events.bus import ONLY_GROUP, Bus, BusUnavailable, Lag, Message, Outgoing, Subscription
from app.events.postgres_bus import PostgresBus
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import Sql
from tests.app.test_outbox import event, events, migrated
from tests.cluster import ROOT
from tests.wait import wait_until

TOPIC = "purchase-confirmed"
FOR_EVER = 3600.0  # a lease that no test waits for
NEVER = "postgresql://127.0.0.1:1/none"


class Parts:
    """Buses and members of one database, closed at the test's end."""

    def __init__(self, url: str):
        self.url = url
        self._made: list[Bus | Subscription] = []

    def bus(self, lease: float = FOR_EVER) -> PostgresBus:
        bus = PostgresBus(url=self.url, lease=lease)
        self._made.append(bus)
        return bus

    def member(self, group: str = "workers", *topics: str, lease: float = FOR_EVER) -> Subscription:
        member = self.bus(lease).subscribe(group, topics or [TOPIC], settle=lambda: None)
        self._made.append(member)
        return member

    def close(self) -> None:
        for each in reversed(self._made):
            each.close()


@contextmanager
def parts_of(url: str) -> Iterator[Parts]:
    parts = Parts(migrated(url))
    try:
        yield parts
    finally:
        parts.close()


@pytest.fixture
def parts(database_url: str) -> Iterator[Parts]:
    with parts_of(database_url) as parts:
        yield parts


@pytest.fixture
def bus(parts: Parts) -> PostgresBus:
    return parts.bus()


def outgoing(*texts: object, topic: str = TOPIC, **headers: str) -> list[Outgoing]:
    return [
        Outgoing(topic=topic, key="key", value=str(text).encode(), headers=headers)
        for text in texts
    ]


def texts(messages: Sequence[Message]) -> list[str]:
    return [message.value.decode() for message in messages]


def receive(member: Subscription, count: int, seconds: float = 30) -> list[Message]:
    """So many messages, in as many turns as it takes."""
    messages: list[Message] = []

    def complete() -> bool:
        messages.extend(member.receive(count - len(messages), 0.5))
        return len(messages) == count

    wait_until(complete, what=f"{count} messages", seconds=seconds)
    return messages


def join(*members: Subscription) -> None:
    for member in members:
        assert member.receive(1, 0) == []


def waiting(sql: Sql, group: str = "workers") -> int:
    ((count,),) = sql("SELECT count(*) FROM event_delivery WHERE group_name = %s", group)
    return int(count)


def log(sql: Sql) -> list[bytes]:
    return [row[0] for row in sql("SELECT message FROM event_log ORDER BY id")]


@contextmanager
def program(code: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that says "ready"; its argument is the database's URL. It is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, url],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


# --- publishing and receiving


def test_a_message_is_received_as_it_was_published(parts: Parts, bus: PostgresBus) -> None:
    member = parts.member()
    join(member)
    sent = Outgoing(
        topic=TOPIC, key="schlüssel 🦉", value=bytes(range(256)), headers={"a": 'ü"\\', "b": ""}
    )
    bus.publish([sent])
    (message,) = receive(member, 1)
    assert (message.topic, message.key, message.value) == (sent.topic, sent.key, sent.value)
    assert (message.partition, message.headers) == (0, sent.headers)
    assert member.holds(message)
    member.acknowledge([message])
    assert not member.holds(message)
    assert member.receive(1, 0) == []
    member.acknowledge([message])
    member.keep()


def test_messages_come_in_the_order_of_the_log(parts: Parts, bus: PostgresBus) -> None:
    member = parts.member()
    join(member)
    for first in range(0, 100, 10):
        bus.publish(outgoing(*range(first, first + 10)))
    messages = [message for _ in range(4) for message in member.receive(30, 0)]
    assert texts(messages) == [str(number) for number in range(100)]
    assert [m.offset for m in messages] == sorted(m.offset for m in messages)


def test_nothing_to_publish_needs_no_database() -> None:
    bus = PostgresBus(url=NEVER)
    bus.publish([])
    with pytest.raises(BusUnavailable, match="cannot connect: Connection refused"):
        bus.publish(outgoing("a"))
    bus.close()


def test_a_database_that_is_away_is_said_in_one_line() -> None:
    bus = PostgresBus(url=NEVER)
    member = bus.subscribe("workers", [TOPIC], settle=lambda: None)
    refused = "cannot connect: Connection refused"
    for attempt in (
        lambda: member.receive(1, 0),
        member.keep,
        lambda: bus.lags({"workers": TOPIC}),
        lambda: bus.replay("workers", TOPIC, None),
    ):
        with pytest.raises(BusUnavailable, match=refused):
            attempt()
    member.acknowledge([Message(topic=TOPIC, partition=0, offset=1, key="", value=b"")])
    member.close()
    bus.close()


def test_tables_that_are_not_there_yet_are_an_outage(database_url: str) -> None:
    bus = PostgresBus(url=database_url)
    member = bus.subscribe("workers", [TOPIC], settle=lambda: None)
    for attempt in (lambda: member.receive(1, 0), lambda: bus.publish(outgoing("a"))):
        with pytest.raises(BusUnavailable, match=r"event_\w+. does not exist"):
            attempt()
    migrated(database_url)
    join(member)
    bus.publish(outgoing("a"))
    assert texts(receive(member, 1)) == ["a"]
    member.close()
    bus.close()


def test_text_that_postgres_cannot_keep_does_not_keep_a_message_from_the_bus(
    parts: Parts, bus: PostgresBus
) -> None:
    member = parts.member()
    join(member)
    bus.publish(
        [Outgoing(topic=TOPIC, key="a\0b", value=b"a\0b", headers={"error": "c\0d \ud800"})]
    )
    (message,) = receive(member, 1)
    assert (message.key, message.value, message.headers) == ("a�b", b"a\0b", {"error": "c�d ?"})


def test_each_group_gets_each_message_of_its_topics(parts: Parts, bus: PostgresBus) -> None:
    one, other = parts.member("one"), parts.member("other", TOPIC, "purchase-created")
    join(one, other)
    bus.publish([*outgoing("a"), *outgoing("b", topic="purchase-created")])
    bus.publish(outgoing("c", topic="nobody's"))
    assert texts(receive(one, 1)) == ["a"]
    assert texts(receive(other, 2)) == ["a", "b"]
    assert one.receive(1, 0) == []
    assert other.receive(1, 0) == []


def test_a_message_for_one_group_is_not_brought_to_others(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    one, other = parts.member("one"), parts.member("other")
    join(one, other)
    headers = {ONLY_GROUP: "other"}
    bus.publish([Outgoing(topic=TOPIC, key="k", value=b"x", headers=headers)])
    bus.publish(outgoing("y"))
    assert texts(receive(other, 2)) == ["x", "y"]
    assert texts(receive(one, 1)) == ["y"]
    assert sql("SELECT count(*) FROM event_delivery") == [(3,)]
    late = parts.member("late")
    assert texts(receive(late, 1)) == ["y"]
    assert bus.lags({"another": TOPIC}) == [Lag(group="another", topic=TOPIC, waiting=1)]
    assert bus.replay("another", TOPIC, None) == 1


def test_members_share_what_is_published_meanwhile_without_overlap(parts: Parts, sql: Sql) -> None:
    members = [parts.member() for _ in range(4)]
    join(*members)
    total, published = 3000, threading.Event()
    got: list[int] = []

    def consume(member: Subscription) -> None:
        chance = random.Random()  # noqa: S311 - no secret
        while True:
            last = published.is_set()
            messages = member.receive(chance.randint(1, 40), 0.05)
            assert all(member.holds(message) for message in messages)
            got.extend(message.offset for message in messages)
            member.acknowledge(messages)
            member.keep()
            if last and not messages:
                return

    with ThreadPoolExecutor(4) as threads:
        consuming = [threads.submit(consume, member) for member in members]
        bus = parts.bus()
        for first in range(0, total, 25):
            bus.publish(outgoing(*range(first, first + 25)))
        published.set()
        for each in consuming:
            each.result(60)
    assert len(got) == len(set(got)) == total
    assert waiting(sql) == 0


# --- what is not acknowledged


def test_what_is_not_acknowledged_comes_again_after_the_lease(
    parts: Parts, bus: PostgresBus
) -> None:
    slow, other = parts.member(lease=0.5), parts.member()
    join(slow, other)
    bus.publish(outgoing("a", "b"))
    a, b = receive(slow, 2)
    slow.acknowledge([a])
    assert receive(other, 1) == [b]
    assert not slow.holds(b)
    assert other.holds(b)


def test_what_is_not_acknowledged_goes_to_others_at_once_when_its_member_closes(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    member, other = parts.member(), parts.member()
    join(member, other)
    bus.publish(outgoing("a", "b", "c"))
    messages = receive(member, 3)
    member.acknowledge(messages[:1])
    assert other.receive(10, 0) == []
    with ThreadPoolExecutor(1) as thread:
        received = thread.submit(receive, other, 2)
        member.close()
        assert received.result(30) == messages[1:]
    assert not any(map(member.holds, messages))
    member.close()
    assert all(map(other.holds, messages[1:]))
    assert waiting(sql) == 2


def test_what_a_killed_process_held_comes_again(parts: Parts, bus: PostgresBus) -> None:
    other = parts.member()
    join(other)
    bus.publish(outgoing(*range(5)))
    code = """
import sys, time
from app.events.postgres_bus import PostgresBus
bus = PostgresBus(url=sys.argv[1], lease=1)
member = bus.subscribe("workers", ["purchase-confirmed"], settle=lambda: None)
assert len(member.receive(5, 0)) == 5
print("ready", flush=True)
time.sleep(600)
"""
    with program(code, parts.url) as process:
        process.kill()
    assert texts(receive(other, 5)) == list("01234")


def test_keeping_on_keeps_others_away_beyond_the_lease(parts: Parts, bus: PostgresBus) -> None:
    # A machine that stands still for longer than the lease is what the lease is for.
    lease = 4.0
    member, other = parts.member(lease=lease), parts.member()
    join(member, other)
    bus.publish(outgoing("a"))
    (message,) = receive(member, 1)
    until = time.monotonic() + 1.5 * lease
    while time.monotonic() < until:
        member.keep()
        assert member.holds(message)
        assert other.receive(1, 0.1) == []
    member.acknowledge([message])
    assert other.receive(1, 0) == []


def test_receiving_keeps_on_too(
    parts: Parts, bus: PostgresBus, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_subscription, "_RENEW_SECONDS", 0.0)
    member = parts.member()
    join(member)
    bus.publish(outgoing("a", "b"))
    (message,) = receive(member, 1)
    lease = "SELECT max(leased_until) FROM event_delivery"
    before = sql(lease)
    member.receive(1, 0)
    assert sql(lease) > before
    assert member.holds(message)


def test_it_need_not_be_told_more_often_than_each_second(
    parts: Parts, bus: PostgresBus, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = parts.member()
    join(member)
    bus.publish(outgoing("a"))
    receive(member, 1)
    lease = "SELECT leased_until FROM event_delivery"
    first = sql(lease)
    monkeypatch.setattr(postgres_subscription, "_RENEW_SECONDS", 100.0)
    for _ in range(10):
        member.keep()
    assert sql(lease) == first
    monkeypatch.setattr(postgres_subscription, "_RENEW_SECONDS", 0.0)
    member.keep()
    assert sql(lease) > first


def test_a_member_that_slept_does_not_hold_what_another_took(
    parts: Parts, bus: PostgresBus, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_subscription, "_RENEW_SECONDS", 0.0)
    sleeper, other = parts.member(), parts.member()
    join(sleeper, other)
    bus.publish(outgoing("a", "b"))
    a, b = receive(sleeper, 2)
    # By the server's clock its lease is over, by its own it is not.
    sql(
        "UPDATE event_delivery SET leased_until = now() - interval '1 s' WHERE log_id = %s",
        a.offset,
    )
    assert receive(other, 1) == [a]
    sleeper.keep()
    assert not sleeper.holds(a)
    assert sleeper.holds(b)
    other.keep()
    assert other.holds(a)
    sleeper.close()
    other.keep()
    assert other.holds(a), "it gives back only what is its own"
    assert receive(other, 1) == [b]


def test_what_was_not_held_once_is_not_held_again(
    parts: Parts, bus: PostgresBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_subscription, "_RENEW_SECONDS", 0.0)
    sleeper = parts.member(lease=0.3)
    join(sleeper)
    bus.publish(outgoing("a"))
    (message,) = receive(sleeper, 1)
    wait_until(lambda: not sleeper.holds(message), what="the lease to end")
    sleeper.keep()
    assert not sleeper.holds(message)
    assert receive(sleeper, 1) == [message], "as any other member it may get it again"


def test_work_that_is_done_is_acknowledged_also_when_the_lease_was_lost(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    slow, other = parts.member(lease=0.3), parts.member()
    join(slow, other)
    bus.publish(outgoing("a"))
    messages = receive(slow, 1)
    assert receive(other, 1) == messages
    slow.acknowledge(messages)
    assert waiting(sql) == 0
    other.acknowledge(messages)
    other.close()


# --- groups


def test_a_new_group_begins_with_the_oldest_message_that_is_kept(
    parts: Parts, bus: PostgresBus
) -> None:
    bus.publish([*outgoing("a", "b"), *outgoing("x", topic="purchase-created")])
    member = parts.member()
    assert bus.lags({"workers": TOPIC}) == [Lag(group="workers", topic=TOPIC, waiting=2)]
    assert texts(receive(member, 2)) == ["a", "b"]
    wider = parts.member("workers", TOPIC, "purchase-created")
    assert texts(receive(wider, 1)) == ["x"]


def test_a_group_that_was_there_before_goes_on_where_it_stopped(
    parts: Parts, bus: PostgresBus
) -> None:
    first = parts.member()
    join(first)
    bus.publish(outgoing("a", "b"))
    first.acknowledge(receive(first, 2))
    first.close()
    bus.publish(outgoing("c"))
    assert texts(parts.member().receive(10, 0)) == ["c"]


def test_groups_that_begin_while_messages_are_published_miss_none(parts: Parts, sql: Sql) -> None:
    groups, enough = 12, threading.Event()

    def publish() -> None:
        bus = parts.bus()
        while not enough.is_set():
            bus.publish(outgoing("a", "b"))

    def drain() -> None:
        bus = parts.bus()
        with Connection.open(parts.url) as connection:
            while not enough.is_set():
                outbox.append_many(connection, events(3))
                bus.drain(connection, 2)

    with ThreadPoolExecutor(8) as threads:
        publishing = [threads.submit(publish), threads.submit(publish), threads.submit(drain)]
        try:
            members = [parts.member(f"group-{number}") for number in range(groups) for _ in "ab"]
            chance = random.Random()  # noqa: S311 - no secret

            def begin(member: Subscription) -> None:
                time.sleep(chance.random())
                member.receive(1, 0)

            list(threads.map(begin, members))
        finally:
            enough.set()
        for each in publishing:
            each.result(30)
    ((kept,),) = sql("SELECT count(*) FROM event_log")
    assert kept > 0
    counts = sql("SELECT group_name, count(*) FROM event_delivery GROUP BY group_name")
    assert dict(counts) == {f"group-{number}": kept for number in range(groups)}


# --- waiting


def test_a_member_that_waits_is_told(
    parts: Parts, bus: PostgresBus, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    monkeypatch.setattr(
        postgres_subscription, "_RENEW_SECONDS", 100.0
    )  # it does not look by itself
    member = parts.member()
    join(member)
    with ThreadPoolExecutor(1) as thread:
        for told in (
            lambda: bus.publish(outgoing("a")),
            lambda: drain_one(parts, bus),
            lambda: bus.replay("workers", TOPIC, None),
        ):
            received = thread.submit(member.receive, 1, 100)
            wait_until(lambda: idle_since_claim(sql), what="the member to wait")
            told()
            messages = received.result(60)
            assert len(messages) == 1
            member.acknowledge(messages)


def drain_one(parts: Parts, bus: PostgresBus) -> None:
    with Connection.open(parts.url) as connection:
        outbox.append(connection, event())
        assert bus.drain(connection, 10) == 1


def idle_since_claim(sql: Sql) -> bool:
    return bool(
        sql(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle' AND query LIKE '%%SKIP LOCKED%%event_log%%'"
            " AND state_change < clock_timestamp() - interval '0.2 s'"
        )
    )


def test_what_concerns_other_groups_is_nothing_to_wake_up_for(
    parts: Parts, bus: PostgresBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, other = parts.member("workers"), parts.member("other", "purchase-created")
    join(member, other)
    looks = []
    claim = postgres_deliveries.claim

    def look(*arguments: Any) -> Any:
        looks.append(arguments)
        return claim(*arguments)

    monkeypatch.setattr(postgres_deliveries, "claim", look)
    with ThreadPoolExecutor(1) as thread:
        received = thread.submit(member.receive, 1, 2.0)
        published = 0
        while not received.done():
            bus.publish(outgoing("x", topic="purchase-created"))
            published += 1
        assert received.result() == []
    assert len(looks) < 6, f"of {published} messages none was for it"


def test_a_notification_that_is_lost_costs_at_most_one_call(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    member = parts.member()
    join(member)
    bus.publish(outgoing("a"))
    sql("UPDATE event_delivery SET leased_until = now() + interval '0.7 s'")  # it ends in silence
    assert texts(receive(member, 1)) == ["a"]


def test_a_delivery_whose_message_is_gone_is_dropped(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    member = parts.member()
    join(member)
    bus.publish(outgoing("a", "b", "c"))
    sql("DELETE FROM event_log WHERE message = 'b'")
    messages = member.receive(10, 0)
    assert texts(messages) == ["a", "c"]
    member.keep()
    assert waiting(sql) == 2
    sql("DELETE FROM event_log")
    sql("UPDATE event_delivery SET leased_until = '-infinity'")
    assert member.receive(10, 0) == []
    member.keep()
    assert waiting(sql) == 0


# --- outages


def test_a_restart_of_the_database_brings_nothing_twice(own_postgres: EmbeddedPostgres) -> None:
    with parts_of(own_postgres.start()) as parts:
        bus, member = parts.bus(), parts.member()
        join(member)
        bus.publish(outgoing(*"abcd"))
        a, b, c, d = receive(member, 4)
        member.acknowledge([a])
        own_postgres.stop()
        for attempt in (lambda: member.receive(1, 0), member.keep):
            with pytest.raises(BusUnavailable):
                attempt()
        member.acknowledge([b])
        assert member.holds(c), "it may finish what it works on"
        own_postgres.start()
        other = parts.member()
        member.acknowledge([c])
        assert other.receive(10, 0) == []
        assert member.receive(10, 0) == []
        assert member.holds(d)
        member.close()
        assert receive(other, 1) == [d]


def test_leases_that_ended_in_an_outage_are_not_held(own_postgres: EmbeddedPostgres) -> None:
    with parts_of(own_postgres.start()) as parts:
        bus, member = parts.bus(), parts.member(lease=1.0)
        join(member)
        bus.publish(outgoing("a", "b"))
        a, b = receive(member, 2)
        own_postgres.stop()
        member.acknowledge([a])
        wait_until(lambda: not member.holds(b), what="the lease to end")
        own_postgres.start()
        assert receive(member, 1) == [b], "it comes again, and what is acknowledged does not"


def test_a_database_that_goes_while_a_member_waits(own_postgres: EmbeddedPostgres) -> None:
    with parts_of(own_postgres.start()) as parts, ThreadPoolExecutor(1) as thread:
        bus, member = parts.bus(), parts.member()
        join(member)
        received = thread.submit(member.receive, 1, 100)
        own_postgres.stop()
        with pytest.raises(BusUnavailable):
            received.result(60)
        own_postgres.start()
        received = thread.submit(receive, member, 1)
        wait_until(lambda: published(bus, "a"), what="the bus to be back")
        assert texts(received.result(60)) == ["a"]


def published(bus: PostgresBus, text: str) -> bool:
    try:
        bus.publish(outgoing(text))
    except BusUnavailable:
        return False
    return True


def test_a_connection_that_is_ended_is_opened_again(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    member = parts.member()
    join(member)
    bus.publish(outgoing("a"))
    (message,) = receive(member, 1)
    sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    member.acknowledge([message])  # nobody is there to be told
    assert waiting(sql) == 1
    assert member.receive(1, 0) == []
    assert waiting(sql) == 0


def test_a_frozen_server_is_given_up(own_postgres: EmbeddedPostgres) -> None:
    with parts_of(own_postgres.start()) as parts:
        bus, member = parts.bus(), parts.member()
        join(member)
        bus.publish(outgoing("a"))
        (message,) = receive(member, 1)
        postmaster = int((own_postgres.data / "postmaster.pid").read_text().splitlines()[0])
        with psycopg.connect(parts.url) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE query LIKE '%SKIP LOCKED%' AND pid <> pg_backend_pid()"
            )
            backends = [row[0] for row in rows]
        frozen = [postmaster, *backends]
        for each in frozen:
            os.kill(each, signal.SIGSTOP)
        try:
            with pytest.raises(BusUnavailable):
                member.receive(1, 0)
            member.close()
            member.close()
        finally:
            for each in frozen:
                os.kill(each, signal.SIGCONT)
        assert not member.holds(message)


# --- the outbox


def test_draining_publishes_what_the_events_say(parts: Parts, bus: PostgresBus, sql: Sql) -> None:
    member = parts.member()
    join(member)
    written = [event(causation_id=event().event_id), *events(4), event(type="PURCHASE_CREATED")]
    with Connection.open(parts.url) as connection:
        outbox.append_many(connection, [*events(3, type="SOMETHING_ELSE"), *written])
        assert [bus.drain(connection, 4) for _ in range(4)] == [4, 2, 0, 0]
    assert [Envelope.from_json(each) for each in log(sql)] == written
    messages = receive(member, 5)
    assert [Envelope.from_json(message.value) for message in messages] == written[:5]
    assert [message.key for message in messages] == [str(e.correlation_id) for e in written[:5]]
    left = sql("SELECT type, count(*) FROM outbox WHERE published_at IS NULL GROUP BY type")
    assert left == [("SOMETHING_ELSE", 3)]


def test_several_drains_at_once_publish_each_event_once(parts: Parts, sql: Sql) -> None:
    with Connection.open(parts.url) as connection:
        outbox.append_many(connection, written := events(600))

    def drain(_: int) -> int:
        with Connection.open(parts.url) as connection:
            bus, count = parts.bus(), 0
            while drained := bus.drain(connection, 7):
                count += drained
        return count

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(drain, range(4))) == 600
    assert sorted(ids_in(log(sql))) == sorted(each.event_id for each in written)


def ids_in(messages: Sequence[bytes]) -> list[UUID]:
    return [Envelope.from_json(message).event_id for message in messages]


def unpublished(sql: Sql) -> int:
    ((count,),) = sql("SELECT count(*) FROM outbox WHERE published_at IS NULL")
    return int(count)


def wait_until_fewer(than: int, sql: Sql) -> None:
    wait_until(lambda: unpublished(sql) < than, what="some to be published")


def test_a_drain_that_is_killed_has_published_all_of_it_or_nothing(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    member = parts.member()
    join(member)
    code = """
import sys
from app.db import Connection
from app.events.postgres_bus import PostgresBus
bus = PostgresBus(url=sys.argv[1])
with Connection.open(sys.argv[1]) as connection:
    print("ready", flush=True)
    while True:
        bus.drain(connection, 20)
"""
    chance = random.Random()  # noqa: S311 - no secret
    rounds, of_each = 12, 2000
    with Connection.open(parts.url) as connection:
        for _ in range(rounds):
            outbox.append_many(connection, events(of_each))
            before = unpublished(sql)
            with program(code, parts.url) as process:
                wait_until_fewer(before, sql)
                time.sleep(chance.random() * 0.05)  # nothing to wait for: any moment will do
                process.kill()

        def rest() -> bool:
            while bus.drain(connection, 500):
                pass
            return unpublished(sql) == 0  # a backend may not know yet that its process is gone

        wait_until(rest, what="all to be published")
    ids = ids_in(log(sql))
    assert len(ids) == len(set(ids)) == waiting(sql) == rounds * of_each


def test_who_writes_an_event_never_waits_for_a_drain(parts: Parts, bus: PostgresBus) -> None:
    with Connection.open(parts.url) as connection, Connection.open(parts.url) as other:
        outbox.append_many(connection, events(3))
        other.execute("SET statement_timeout = '10s'")
        other.execute("SET lock_timeout = '1ms'")
        with connection.transaction():
            assert bus.drain(connection, 10) == 3
            outbox.append(other, event())
            outbox.append_many(other, events(2))
            assert bus.drain(other, 10) == 3


# --- the operator's


def test_pruning_keeps_what_a_group_waits_for(parts: Parts, bus: PostgresBus, sql: Sql) -> None:
    member = parts.member()
    join(member)
    bus.publish([*outgoing(*range(6)), *outgoing("x", topic="nobody's")])
    sql("UPDATE event_log SET published_at = now() - interval '8 days' WHERE message <> '5'")
    messages = receive(member, 6)
    with Connection.open(parts.url) as connection:
        assert bus.prune(connection, days=7, most=100) == 1, "what is nobody's"
        member.acknowledge(messages[:3] + messages[5:])
        assert bus.prune(connection, days=7, most=2) == 2
        assert bus.prune(connection, days=7, most=2) == 1
        assert bus.prune(connection, days=7, most=2) == 0
    assert log(sql) == [b"3", b"4", b"5"]


def test_a_replay_lets_a_group_have_messages_again(
    parts: Parts, bus: PostgresBus, sql: Sql
) -> None:
    member, other = parts.member(), parts.member("other")
    join(member, other)
    bus.publish([*outgoing("a", "b", "c"), *outgoing("x", topic="purchase-created")])
    sql("UPDATE event_log SET published_at = now() - interval '2 h' WHERE message = 'a'")
    a, b, c = receive(member, 3)
    member.acknowledge([a, b])
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert bus.replay("workers", TOPIC, hour_ago) == 1, "c is not done yet"
    assert receive(member, 1) == [b]
    member.acknowledge([b, c])
    assert bus.replay("workers", TOPIC, datetime.now(UTC) + timedelta(hours=1)) == 0
    assert bus.replay("workers", TOPIC, None) == 3
    assert receive(member, 3) == [a, b, c]
    assert waiting(sql, "other") == 3


def test_a_replay_for_a_group_that_begins_later(parts: Parts, bus: PostgresBus) -> None:
    bus.publish(outgoing("a"))
    assert bus.replay("workers", TOPIC, None) == 1
    assert texts(receive(parts.member(), 1)) == ["a"]


def test_lags(parts: Parts, bus: PostgresBus) -> None:
    member = parts.member()
    join(member)
    bus.publish(outgoing(*range(5)))

    def waits() -> list[int]:
        lags = bus.lags({"workers": TOPIC, "nobody": TOPIC, "none": "purchase-created"})
        assert [(lag.group, lag.topic) for lag in lags] == [
            ("workers", TOPIC),
            ("nobody", TOPIC),
            ("none", "purchase-created"),
        ]
        return [lag.waiting for lag in lags]

    assert waits() == [5, 5, 0]
    messages = receive(member, 3)
    assert waits() == [5, 5, 0]
    member.acknowledge(messages)
    assert waits() == [2, 5, 0]
    assert bus.lags({}) == []


def test_there_are_no_topics_to_create(bus: PostgresBus) -> None:
    assert bus.create_topics(partitions=6, replicas=3) == []
    assert bus.name == "postgres"
