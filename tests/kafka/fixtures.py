"""Kafka for tests: `kafka`, shared and emptied for each test, and `own_kafka`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.events.kafka_bus import KafkaBus
from tests.kafka.broker import Broker
from tests.kafka.groups import leave_all
from tests.wait import wait_until

_SECONDS = 10.0  # for one answer of the broker


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of this test process's tests, which must not stop it."""
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def kafka(kafka_broker: Broker) -> Iterator[str]:
    """The address of a broker with our topics, of three partitions, and nothing in them."""
    admin = AdminClient({"bootstrap.servers": kafka_broker.address})
    _delete_groups(admin)
    _delete_topics(admin)
    create_topics(kafka_broker.address)
    yield kafka_broker.address
    leave_all()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A running broker of the test's own, without topics, which may stop and start it at will."""
    broker = Broker(tmp_path / "kafka")
    broker.start()
    yield broker
    leave_all()
    broker.stop()


def create_topics(address: str) -> None:
    """Our topics, with three partitions each."""
    bus = KafkaBus(brokers=[address])
    bus.create_topics(partitions=3, replicas=1)
    bus.close()


def _delete_groups(admin: AdminClient) -> None:
    def deleted() -> bool:
        listed = admin.list_consumer_groups(request_timeout=_SECONDS).result(_SECONDS)
        groups = [group.group_id for group in listed.valid]
        if not groups:
            return True
        for done in admin.delete_consumer_groups(groups, request_timeout=_SECONDS).values():
            try:
                done.result(_SECONDS)
            except KafkaException:
                return False  # a member that was killed counts until its session is over
        return True

    wait_until(deleted, what="the former test's consumer groups to be deleted", seconds=60)


def _delete_topics(admin: AdminClient) -> None:
    def topics() -> list[str]:
        found = admin.list_topics(timeout=_SECONDS).topics
        return [name for name in found if not name.startswith("__")]

    if there := topics():
        for done in admin.delete_topics(there, request_timeout=_SECONDS).values():
            done.result(_SECONDS)
        wait_until(lambda: not topics(), what="the former test's topics to be gone")
