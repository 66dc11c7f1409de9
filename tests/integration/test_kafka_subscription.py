"""What a member of a group of Kafka holds, keeps, gives up and loses."""

from __future__ import annotations

import logging
import re
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.events.bus import BusUnavailable, Message
from app.events.kafka_admin import KafkaAdmin
from app.events.kafka_bus import KafkaBus
from app.events.kafka_subscription import KafkaSubscription
from tests.kafka.groups import (
    GROUP,
    SECONDS,
    TOPIC,
    numbered,
    receive,
    subscribed,
    values,
)
from tests.kafka.member import member
from tests.wait import wait_until

# Far beyond what a test lasts: whoever gets the messages of another before has not waited for it.
LONG_SESSION: dict[str, Any] = {"session_timeout_ms": 100_000}
SHORT_SESSION = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 500}


@pytest.fixture
def bus(kafka: str) -> Iterator[KafkaBus]:
    made = KafkaBus(brokers=[kafka])
    yield made
    made.close()


def lag(bus: KafkaBus) -> int:
    (found,) = bus.lags({GROUP: TOPIC})
    return found.waiting


def keeps(subscription: KafkaSubscription) -> bool:
    subscription.keep()
    return True


def test_what_was_not_acknowledged_goes_to_others_when_a_member_leaves(
    kafka: str, bus: KafkaBus
) -> None:
    bus.publish(numbered(30))
    first = subscribed(kafka, **LONG_SESSION)
    receive(first, 30)
    first.close()
    second = subscribed(kafka, **LONG_SESSION)
    assert values(receive(second, 30)) == list(range(30))
    second.close()


def test_what_was_acknowledged_does_not_come_again(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(30))
    first = subscribed(kafka)
    first.acknowledge(receive(first, 30))
    first.close()  # says it to Kafka before it leaves
    bus.publish(numbered(5, start=30))
    second = subscribed(kafka)
    assert values(receive(second, 5)) == [30, 31, 32, 33, 34]
    second.close()


def test_messages_behind_one_that_is_not_acknowledged_come_again_with_it(
    kafka: str, bus: KafkaBus
) -> None:
    bus.publish(numbered(60))
    first = subscribed(kafka)
    received = receive(first, 60)
    of_one = [each for each in received if each.partition == 0]
    gap = of_one[len(of_one) // 2]
    first.acknowledge([each for each in received if each is not gap])
    assert first.holds(gap)
    assert not first.holds(of_one[0])
    first.close()
    again = [each.offset for each in of_one if each.offset >= gap.offset]
    second = subscribed(kafka)
    assert [each.offset for each in receive(second, len(again))] == again
    second.close()


def test_what_a_killed_process_held_comes_to_another(
    kafka: str, bus: KafkaBus, tmp_path: Path
) -> None:
    bus.publish(numbered(20))
    with member(tmp_path, address=kafka, group=GROUP, topic=TOPIC, overrides=SHORT_SESSION) as dead:
        dead.wait_received(20)
        dead.send(signal.SIGKILL)
        dead.wait()
        living = subscribed(kafka)
        assert values(receive(living, 20)) == list(range(20))
        living.close()


def test_members_share_the_partitions(kafka: str, bus: KafkaBus) -> None:
    members = [subscribed(kafka) for _ in range(3)]
    received: list[list[Message]] = [[], [], []]

    def shared() -> bool:
        bus.publish(numbered(20))
        for mine, each in zip(received, members, strict=True):
            mine += each.receive(100, 0.1)
        held = [
            {message.partition for message in mine if each.holds(message)}
            for mine, each in zip(received, members, strict=True)
        ]
        return [len(partitions) for partitions in held] == [1, 1, 1] and len(
            set().union(*held)
        ) == 3

    wait_until(shared, what="each member to hold a partition of its own", seconds=SECONDS)


def test_work_is_settled_before_a_partition_goes_and_does_not_come_again(
    kafka: str, bus: KafkaBus
) -> None:
    bus.publish(numbered(60))
    settled: list[bool] = []

    def settle() -> None:
        settled.append(all(first.holds(message) for message in received))
        first.keep()  # from within: nothing happens
        first.acknowledge(received)

    first = subscribed(kafka, settle=settle)
    received = receive(first, 60)
    second = subscribed(kafka)
    came: list[Message] = []

    def gone() -> bool:
        first.keep()
        came.extend(second.receive(100, 0.1))
        return bool(settled)

    wait_until(gone, what="a rebalance", seconds=SECONDS)
    assert settled[0]
    assert not any(first.holds(message) for message in received)
    bus.publish(numbered(40, start=60))

    def all_came() -> bool:
        came.extend(first.receive(100, 0.1))
        came.extend(second.receive(100, 0.1))
        return len(came) >= 40

    wait_until(all_came, what="all new messages", seconds=SECONDS)
    assert values(came) == list(range(60, 100))
    first.close()
    second.close()


def test_only_what_goes_to_another_member_comes_again(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(60))
    first = subscribed(kafka)
    received = receive(first, 60)
    second = subscribed(kafka)
    came = receive(second, 1, beside=[first])
    moved = {message.partition for message in came}
    assert moved < {0, 1, 2}
    for message in received:
        assert first.holds(message) == (message.partition not in moved)
    first.close()
    second.close()


def test_a_settling_that_fails_is_logged_and_the_group_goes_on(
    kafka: str, bus: KafkaBus, caplog: pytest.LogCaptureFixture
) -> None:
    def settle() -> None:
        raise ValueError("no such luck")

    bus.publish(numbered(60))
    first = subscribed(kafka, settle=settle)
    receive(first, 60)
    second = subscribed(kafka)
    receive(second, 1, beside=[first])
    assert "no such luck" in caplog.text
    first.close()
    second.close()


def test_closing_settles_nothing(kafka: str, bus: KafkaBus) -> None:
    settled: list[None] = []
    bus.publish(numbered(10))
    subscription = subscribed(kafka, settle=lambda: settled.append(None))
    receive(subscription, 10)
    subscription.close()
    subscription.close()
    assert settled == []
    assert lag(bus) == 10


def test_a_member_that_stood_still_commits_nothing(
    kafka: str, bus: KafkaBus, tmp_path: Path
) -> None:
    bus.publish(numbered(20))
    with member(
        tmp_path, address=kafka, group=GROUP, topic=TOPIC, overrides=SHORT_SESSION
    ) as other:
        other.wait_received(20)
        other.send(signal.SIGSTOP)
        here = subscribed(kafka)
        received = receive(here, 20)  # its session is over
        other.send(signal.SIGCONT)
        other.ask("ack")
        wait_until(
            lambda: keeps(here) and other.ask("holds") == 0,
            what="the other to notice that it lost its messages",
            seconds=SECONDS,
        )
        assert lag(bus) == 20
        here.acknowledge([each for each in received if here.holds(each)])
        assert other.ask("close") == "closed"
        assert other.wait() == 0
        here.close()


def test_a_member_that_keeps_may_work_longer_than_its_poll_interval(
    kafka: str, bus: KafkaBus
) -> None:
    interval = 2.0
    bus.publish(numbered(30))
    busy = subscribed(kafka, session_timeout_ms=1_500, max_poll_interval_ms=round(interval * 1000))
    received = receive(busy, 30)
    until = time.monotonic() + 3 * interval
    wait_until(lambda: keeps(busy) and time.monotonic() > until, what="the end of the work")
    assert all(busy.holds(message) for message in received)
    busy.acknowledge(received)
    wait_until(lambda: lag(bus) == 0, what="the work to be acknowledged")
    busy.close()


def test_a_member_that_does_not_keep_loses_its_messages(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(30))
    busy = subscribed(kafka, session_timeout_ms=1_500, max_poll_interval_ms=2_000)
    received = receive(busy, 30)
    other = subscribed(kafka)
    assert values(receive(other, 30)) == list(range(30))  # only the other is polled
    busy.keep()
    wait_until(
        lambda: keeps(busy) and not any(map(busy.holds, received)),
        what="the loss to be noticed",
        seconds=SECONDS,
    )
    busy.acknowledge(received)
    busy.close()
    assert lag(bus) == 30
    other.close()


def test_no_message_is_lost_or_doubled_while_a_member_keeps(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(500))
    busy = subscribed(kafka)
    received = busy.receive(10, SECONDS)  # the others are fetched already
    for round_ in range(1, 6):
        for _ in range(5):
            busy.keep()
        bus.publish(numbered(100, start=400 + round_ * 100))
        for _ in range(5):
            busy.keep()
        received += busy.receive(10, 1)
    received += receive(busy, 1000 - len(received))
    assert values(received) == list(range(1000))
    assert busy.receive(10, 0.5) == []
    busy.close()


def test_a_partition_that_comes_while_a_member_keeps_waits(
    kafka: str, bus: KafkaBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.events.kafka_subscription")
    busy, leaving = subscribed(kafka), subscribed(kafka)
    bus.publish(numbered(60))
    held = receive(busy, 1, beside=[leaving])
    given = receive(leaving, 1, beside=[busy])
    caplog.clear()
    leaving.close()
    came_back = re.compile(f"got .*{TOPIC}/{given[0].partition}")
    wait_until(
        lambda: keeps(busy) and came_back.search(caplog.text),
        what="the other's partition to come",
        seconds=SECONDS,
    )
    assert not any(map(busy.holds, given))
    came = {(m.partition, m.offset) for m in held}

    def all_came() -> bool:
        came.update((m.partition, m.offset) for m in busy.receive(100, 0.1))
        return len(came) == 60

    wait_until(all_came, what="all messages", seconds=SECONDS)
    busy.close()


def test_a_partition_that_went_while_a_member_kept_is_read_when_it_comes_back(
    kafka: str, bus: KafkaBus
) -> None:
    bus.publish(numbered(60))
    busy = subscribed(kafka)
    received = receive(busy, 60)
    guest = subscribed(kafka)
    receive(guest, 1, beside=[busy])  # took a partition of one that keeps
    busy.acknowledge(received)
    busy.receive(1, 0)  # it goes on with the others
    guest.close()
    bus.publish(numbered(60, start=60))
    came: list[Message] = []

    def all_came() -> bool:
        came.extend(busy.receive(100, 0.1))
        return set(range(60, 120)) <= set(values(came))

    wait_until(all_came, what="the messages of all partitions", seconds=SECONDS)


def test_a_topic_that_is_missing_is_waited_for(kafka: str, bus: KafkaBus) -> None:
    topic = f"late-{uuid.uuid4()}"
    subscription = subscribed(kafka, topic=topic)
    for _ in range(2):  # as long as it is missing
        with pytest.raises(BusUnavailable, match=f"no topic {topic}: python -m app.consumers"):
            wait_until(lambda: subscription.receive(10, 0.5), what="an error", seconds=SECONDS)
    KafkaAdmin(brokers=[kafka]).create_topics([topic], partitions=3, replicas=1)
    bus.publish(numbered(10, topic=topic))
    assert values(receive(subscription, 10)) == list(range(10))
    subscription.close()


def test_after_a_fatal_error_it_begins_anew(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(10))
    # Another member of the same name: Kafka fences the first one off for good. Members with a name
    # do not leave, their session ends.
    twins: dict[str, Any] = {"group_instance_id": "twin", "session_timeout_ms": 2_000}
    subscription = subscribed(kafka, **twins)
    received = receive(subscription, 10)
    twin = subscribed(kafka, **twins)

    def fenced() -> None:
        twin.receive(10, 0.1)
        subscription.receive(10, 0.1)

    with pytest.raises(BusUnavailable, match="gave up"):
        wait_until(fenced, what="the first to be fenced off", seconds=SECONDS)
    assert not any(map(subscription.holds, received))
    twin.close()
    assert values(receive(subscription, 10)) == list(range(10))
    subscription.close()
