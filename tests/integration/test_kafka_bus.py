"""Publishing, receiving, lags, replays and topics, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from app.events.bus import BusRefused, BusUnavailable, Lag, Message, Outgoing
from app.events.kafka_admin import KafkaAdmin
from app.events.kafka_bus import KafkaBus
from tests.kafka.groups import GROUP, TOPIC, numbered, receive, subscribed, values
from tests.wait import wait_until


@pytest.fixture
def bus(kafka: str) -> Iterator[KafkaBus]:
    made = KafkaBus(brokers=[kafka])
    yield made
    made.close()


def lag(bus: KafkaBus, group: str = GROUP) -> int:
    (found,) = bus.lags({group: TOPIC})
    return found.waiting


def test_what_is_published_is_received_as_it_was(bus: KafkaBus) -> None:
    bus.publish(
        [
            Outgoing(
                topic=TOPIC, key="a key", value=b"\x00\xff", headers={"one": "1", "two": "zwölf"}
            )
        ]
    )
    subscription = bus.subscribe(GROUP, [TOPIC], settle=lambda: None)
    found: list[Message] = []
    while not found:  # pytest's own deadline
        found += subscription.receive(10, 0.1)
    subscription.close()
    (message,) = found
    assert (message.topic, message.key, message.value) == (TOPIC, "a key", b"\x00\xff")
    assert message.headers == {"one": "1", "two": "zwölf"}
    assert message.offset == 0


def test_messages_of_one_key_keep_their_order(kafka: str, bus: KafkaBus) -> None:
    bus.publish([Outgoing(topic=TOPIC, key="one", value=str(n).encode()) for n in range(300)])
    subscription = subscribed(kafka)
    assert [int(each.value) for each in receive(subscription, 300)] == list(range(300))
    subscription.close()


def test_each_group_gets_every_message(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(20))
    for group in ("these", "those"):
        subscription = subscribed(kafka, group=group)
        assert values(receive(subscription, 20)) == list(range(20))
        subscription.close()


def test_no_more_than_asked_for_are_received_at_once(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(50))
    subscription = subscribed(kafka)
    received: list[Message] = []
    while len(received) < 50:
        some = subscription.receive(7, 5)
        assert len(some) <= 7
        received += some
    subscription.close()
    assert values(received) == list(range(50))


def test_a_strange_message_is_received(kafka: str) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(TOPIC, value=None, partition=0)
    producer.produce(TOPIC, value=b"1", key=b"\xff", partition=0)
    strange: list[tuple[str, str | bytes | None]] = [("none", None), ("bytes", b"\xfe")]
    producer.produce(
        TOPIC, value=b"2", partition=0, headers=[*strange, ("twice", b"1"), ("twice", b"2")]
    )
    assert producer.flush(30) == 0
    subscription = subscribed(kafka)
    tombstone, key, headers = receive(subscription, 3)
    subscription.close()
    assert (tombstone.key, tombstone.value) == ("", b"")
    assert key.key == "\ufffd"
    assert headers.headers == {"none": "", "bytes": "\ufffd", "twice": "2"}


def test_offsets_that_a_transaction_took_back_are_passed_over(kafka: str, bus: KafkaBus) -> None:
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": "some"})
    producer.init_transactions(30)
    for value, ending in ((b"0", "commit"), (b"1", "abort"), (b"2", "commit"), (b"3", "commit")):
        producer.begin_transaction()
        producer.produce(TOPIC, value=value, partition=0)
        assert producer.flush(30) == 0
        getattr(producer, f"{ending}_transaction")(30)
    subscription = subscribed(kafka)
    received = receive(subscription, 3)
    assert [each.value for each in received] == [b"0", b"2", b"3"]
    assert received[1].offset > received[0].offset + 1
    subscription.acknowledge(received[:1])
    subscription.close()
    subscription = subscribed(kafka)
    assert [each.value for each in receive(subscription, 2)] == [b"2", b"3"]
    subscription.close()


def test_lag_is_what_was_not_acknowledged(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(30))
    assert bus.lags({GROUP: TOPIC, "of-another": "trainer-allocated"}) == [
        Lag(group=GROUP, topic=TOPIC, waiting=30),  # that never was there
        Lag(group="of-another", topic="trainer-allocated", waiting=0),
    ]
    subscription = subscribed(kafka)
    received = receive(subscription, 30)
    assert lag(bus) == 30
    subscription.acknowledge([each for each in received if each.partition == 0])
    left = sum(each.partition != 0 for each in received)
    wait_until(lambda: lag(bus) == left, what="the acknowledged ones to be done")
    subscription.acknowledge(received)
    wait_until(lambda: lag(bus) == 0, what="all to be done")
    subscription.close()
    bus.publish(numbered(5))
    assert lag(bus) == 5


def test_replay_from_the_oldest_brings_all_again(kafka: str, bus: KafkaBus) -> None:
    consumed(kafka, bus, 20)
    assert bus.replay(GROUP, TOPIC, None) == 20
    assert lag(bus) == 20
    subscription = subscribed(kafka)
    assert values(receive(subscription, 20)) == list(range(20))
    subscription.close()


def test_replay_from_a_time_brings_what_was_published_since(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(20))
    start = datetime.now(UTC) + timedelta(milliseconds=2)
    wait_until(lambda: datetime.now(UTC) > start, what="the clock")
    bus.publish(numbered(15, start=20))
    subscription = subscribed(kafka)
    subscription.acknowledge(receive(subscription, 35))
    subscription.close()
    assert bus.replay(GROUP, TOPIC, start) == 15
    subscription = subscribed(kafka)
    assert values(receive(subscription, 15)) == list(range(20, 35))
    subscription.close()
    assert bus.replay(GROUP, TOPIC, datetime.now(UTC)) == 15  # none of it was acknowledged


def test_replay_from_a_time_skips_nothing_that_waits(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(20))
    assert bus.replay(GROUP, TOPIC, datetime.now(UTC) + timedelta(hours=1)) == 20
    assert lag(bus) == 20


def test_replay_leaves_other_groups_alone(kafka: str, bus: KafkaBus) -> None:
    consumed(kafka, bus, 10)
    consumed(kafka, bus, 0, group="of-others", received=10)
    bus.replay(GROUP, TOPIC, None)
    assert lag(bus, "of-others") == 0


def test_replay_is_refused_while_the_group_has_members(kafka: str, bus: KafkaBus) -> None:
    bus.publish(numbered(10))
    subscription = subscribed(kafka)
    received = receive(subscription, 10)
    with pytest.raises(BusRefused, match=f"stop the group's consumers first: {GROUP}"):
        bus.replay(GROUP, TOPIC, None)
    subscription.acknowledge(received)
    subscription.close()
    assert lag(bus) == 0


def test_topics_are_created_once(bus: KafkaBus) -> None:
    # The fixture has created them.
    assert bus.create_topics(partitions=3, replicas=1) == []


def test_more_replicas_than_brokers_are_refused(kafka: str) -> None:
    admin = KafkaAdmin(brokers=[kafka])
    with pytest.raises(BusRefused, match=r"(?i)replication"):
        admin.create_topics(["another"], partitions=1, replicas=3)
    admin.close()


def test_a_message_that_is_too_large_is_refused(bus: KafkaBus) -> None:
    with pytest.raises(BusRefused, match="too large"):
        bus.publish([Outgoing(topic=TOPIC, key="", value=b"1" * 2_000_000), *numbered(5)])
    bus.publish(numbered(5))


def test_a_topic_that_is_missing_is_named_with_what_to_do(bus: KafkaBus) -> None:
    todo = "python -m app.consumers topics create"
    with pytest.raises(BusRefused, match=todo):
        bus.publish([Outgoing(topic="missing", key="", value=b"")])
    with pytest.raises(BusUnavailable, match=f"no topic missing: {todo}"):
        bus.lags({GROUP: "missing"})
    with pytest.raises(BusUnavailable, match=todo):
        bus.replay(GROUP, "missing", None)


def test_a_bus_that_was_closed_may_be_used_again(bus: KafkaBus) -> None:
    bus.publish(numbered(1))
    bus.close()
    bus.publish(numbered(1))
    assert lag(bus) == 2


def consumed(
    kafka: str, bus: KafkaBus, count: int, *, group: str = GROUP, received: int | None = None
) -> None:
    """Publishes so many, and has them received and acknowledged."""
    if count:
        bus.publish(numbered(count))
    subscription = subscribed(kafka, group=group)
    subscription.acknowledge(receive(subscription, received or count))
    subscription.close()
