"""A broker that is stopped, killed, frozen, or not there yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.events.bus import BusUnavailable, Message
from app.events.kafka_bus import KafkaBus
from app.events.kafka_producer import KafkaProducer
from app.events.kafka_subscription import KafkaSubscription
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics
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

# What must be bounded, and what would be without end if it were not.
_BOUND = 30.0


@pytest.fixture
def broker(own_kafka: Broker) -> Broker:
    """One with our topics."""
    create_topics(own_kafka.address)
    return own_kafka


@pytest.fixture
def bus(broker: Broker) -> Iterator[KafkaBus]:
    made = KafkaBus(brokers=[broker.address])
    yield made
    made.close()


@pytest.fixture
def producer(broker: Broker) -> Iterator[KafkaProducer]:
    """One that gives up soon."""
    made = KafkaProducer(brokers=[broker.address], seconds=2)
    yield made
    made.close()


def test_receiving_and_publishing_go_on_after_a_restart(
    broker: Broker, bus: KafkaBus, producer: KafkaProducer
) -> None:
    bus.publish(numbered(20))
    subscription = subscribed(broker.address)
    received = receive(subscription, 20)
    broker.stop()
    subscription.keep()
    wait_until(lambda: _is_away(subscription), what="the broker to be missed")
    subscription.acknowledge(received)  # cannot be told now, and is no error
    with pytest.raises(BusUnavailable):
        producer.publish(numbered(1, start=100))
    broker.start()
    bus.publish(numbered(20, start=20))
    came: list[Message] = []

    def all_came() -> bool:
        came.extend(_what_comes(subscription, 100))
        return set(range(20, 40)) <= set(values(came))

    wait_until(all_came, what="the new messages", seconds=SECONDS)
    # Only these: the broker was away, and what was not delivered is not delivered later.
    assert set(values(came)) <= set(range(40))
    subscription.acknowledge(came)
    wait_until(
        lambda: subscription.receive(1, 0.1) == [] and lag(bus) == 0,
        what="all to be acknowledged",
        seconds=SECONDS,
    )
    subscription.close()


def test_a_killed_broker_takes_no_message_along(broker: Broker, bus: KafkaBus) -> None:
    bus.publish(numbered(50))
    broker.kill()
    broker.start()
    bus.publish(numbered(50, start=50))
    subscription = subscribed(broker.address)
    assert values(receive(subscription, 100)) == list(range(100))
    subscription.close()


def test_while_the_broker_is_away_everything_ends_within_its_time(
    broker: Broker, bus: KafkaBus, producer: KafkaProducer
) -> None:
    bus.publish(numbered(5))
    subscription = subscribed(broker.address)
    received = receive(subscription, 5)
    broker.stop()
    started = time.monotonic()
    with pytest.raises(BusUnavailable, match="took 0 of 3"):
        producer.publish(numbered(3))
    with pytest.raises(BusUnavailable):
        bus.lags({GROUP: TOPIC})
    with pytest.raises(BusUnavailable):
        bus.replay(GROUP, TOPIC, None)
    with pytest.raises(BusUnavailable):
        bus.create_topics(partitions=1, replicas=1)
    subscription.acknowledge(received)
    subscription.close()
    bus.close()
    assert time.monotonic() - started < 2 * _BOUND


def test_while_the_broker_is_frozen_everything_ends_within_its_time(
    broker: Broker, bus: KafkaBus, producer: KafkaProducer
) -> None:
    bus.publish(numbered(5))
    producer.publish(numbered(1, start=5))
    subscription = subscribed(broker.address)
    received = receive(subscription, 6)
    broker.freeze()
    started = time.monotonic()
    with pytest.raises(BusUnavailable):
        producer.publish(numbered(1, start=6))
    subscription.acknowledge(received)
    subscription.keep()
    assert subscription.receive(10, 0.5) == []
    subscription.close()
    producer.close()
    assert time.monotonic() - started < _BOUND
    broker.thaw()
    producer.publish(numbered(1, start=7))


def test_a_process_ends_though_the_broker_is_frozen(
    broker: Broker, bus: KafkaBus, tmp_path: Path
) -> None:
    bus.publish(numbered(5))
    with member(tmp_path, address=broker.address, group=GROUP, topic=TOPIC, overrides={}) as one:
        one.wait_received(5)
        broker.freeze()
        assert one.ask("ack") == 5
        assert one.ask("close") == "closed"
        assert one.wait() == 0
    broker.thaw()


def test_a_member_waits_for_a_broker_that_is_not_there_yet(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "kafka")
    subscription = subscribed(broker.address)
    wait_until(lambda: _is_away(subscription), what="the broker to be missed")
    subscription.keep()
    broker.start()
    try:
        create_topics(broker.address)
        bus = KafkaBus(brokers=[broker.address])
        bus.publish(numbered(5))
        came: list[Message] = []

        def all_came() -> bool:
            came.extend(_what_comes(subscription, 10))
            return len(came) == 5

        wait_until(all_came, what="the messages", seconds=SECONDS)
        subscription.close()
        bus.close()
    finally:
        broker.stop()


def lag(bus: KafkaBus) -> int:
    (found,) = bus.lags({GROUP: TOPIC})
    return found.waiting


def _is_away(subscription: KafkaSubscription) -> bool:
    try:
        assert subscription.receive(10, 0.1) == []
    except BusUnavailable:
        return True
    return False


def _what_comes(subscription: KafkaSubscription, most: int) -> list[Message]:
    """Nothing while the broker is away, or a topic is missing for a moment."""
    try:
        return subscription.receive(most, 0.1)
    except BusUnavailable:
        return []
