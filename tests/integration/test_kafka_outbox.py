"""From the outbox to Kafka, with a real Postgres and a real broker."""

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import (  # type: ignore[attr-defined] # without __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from app.db import Connection, migrations
from app.events import kafka_outbox, outbox
from app.events.bus import BusRefused, BusUnavailable, Message, Outgoing
from app.events.envelope import Envelope
from app.events.kafka_bus import KafkaBus
from app.events.kafka_outbox import KafkaOutbox
from app.events.kafka_producer import KafkaProducer
from tests.cluster import free_port
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics
from tests.kafka.groups import numbered, receive, subscribed

_SECONDS = 30.0


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with Connection.open(database_url) as opened:
        migrations.apply(opened, migrations.read())
        yield opened


@pytest.fixture
def bus(kafka: str) -> Iterator[KafkaBus]:
    made = KafkaBus(brokers=[kafka])
    yield made
    made.close()


def event(type: str = "PURCHASE_CREATED", *, note: str = "") -> Envelope:  # noqa: A002
    return Envelope(
        event_id=uuid.uuid4(),
        type=type,
        version=1,
        correlation_id=uuid.uuid4(),
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        payload={"note": note, "amount": 12.5},
    )


def written(connection: Connection, *events: Envelope) -> list[Envelope]:
    outbox.append_many(connection, events)
    return list(events)


def waiting(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM outbox WHERE published_at IS NULL").fetchone()
    assert row is not None
    return int(row[0])


def noise(size: int) -> str:
    """What compression makes little of."""
    return secrets.token_urlsafe(size)[:size]


def arrived(kafka: str, count: int, *, topic: str = "purchase-created") -> list[Message]:
    """All messages of the topic, of which so many are expected."""
    subscription = subscribed(kafka, group=f"readers-{uuid.uuid4()}", topic=topic)
    received = receive(subscription, count)
    received += subscription.receive(100, 0.5)
    subscription.close()
    return received


def configure(kafka: str, topic: str, **options: str) -> None:
    """Sets a topic's configuration on the broker."""
    changes = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in options.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(_SECONDS)


def test_events_are_published_in_their_order_and_marked(
    kafka: str, bus: KafkaBus, connection: Connection
) -> None:
    created = written(connection, *(event() for _ in range(5)))
    (confirmed,) = written(connection, event("PURCHASE_CONFIRMED"))
    assert bus.drain(connection, 4) == 4
    assert waiting(connection) == 2
    assert bus.drain(connection, 4) == 2
    assert bus.drain(connection, 4) == 0
    assert waiting(connection) == 0
    found = arrived(kafka, 5)
    assert {message.key for message in found} == {str(each.correlation_id) for each in created}
    assert sorted((Envelope.from_json(m.value) for m in found), key=str) == sorted(created, key=str)
    (other,) = arrived(kafka, 1, topic="purchase-confirmed")
    assert Envelope.from_json(other.value) == confirmed


def test_an_event_of_a_type_without_a_topic_waits(bus: KafkaBus, connection: Connection) -> None:
    written(connection, event("SOMETHING_ELSE"), event())
    assert bus.drain(connection, 10) == 1
    assert waiting(connection) == 1


def test_nobody_waits_for_a_drain(bus: KafkaBus, connection: Connection, database_url: str) -> None:
    written(connection, event())
    with Connection.open(database_url) as other, other.transaction():
        outbox.append(other, event())  # not committed yet
        assert bus.drain(connection, 10) == 1
    assert bus.drain(connection, 10) == 1


def test_while_brokers_are_away_events_wait(connection: Connection) -> None:
    written(connection, event(), event())
    producer = KafkaProducer(brokers=[f"127.0.0.1:{free_port()}"], seconds=1)
    with pytest.raises(BusUnavailable, match="took 0 of 2"):
        KafkaOutbox(producer).drain(connection, 10)
    assert waiting(connection) == 2
    producer.close()


def test_what_was_delivered_is_marked_when_the_rest_was_not(
    own_kafka: Broker, connection: Connection
) -> None:
    class Halfway(KafkaProducer):
        """The broker freezes after two messages."""

        def deliver(self, messages: Sequence[Outgoing]) -> list[KafkaError | None]:
            first = super().deliver(messages[:2])
            own_kafka.freeze()
            return first + super().deliver(messages[2:])

    create_topics(own_kafka.address)
    producer = Halfway(brokers=[own_kafka.address], seconds=2)
    KafkaProducer.deliver(producer, numbered(1, topic="dead-letter-queue"))  # it is connected
    events = written(connection, *(event() for _ in range(3)))
    with pytest.raises(BusUnavailable, match="took 2 of 3"):
        KafkaOutbox(producer).drain(connection, 10)
    producer.close()
    own_kafka.thaw()
    assert waiting(connection) == 1
    bus = KafkaBus(brokers=[own_kafka.address])
    assert bus.drain(connection, 10) == 1
    bus.close()
    # The last one perhaps twice: it was on its way when the broker froze.
    found = {
        Envelope.from_json(message.value).event_id for message in arrived(own_kafka.address, 3)
    }
    assert found == {each.event_id for each in events}


def test_an_event_that_is_too_large_waits_while_others_go_on(
    bus: KafkaBus, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    written(connection, event(note="x" * 2_000_000), event())
    with pytest.raises(BusRefused, match=r"took 1 of 2.*too large"):
        bus.drain(connection, 10)
    (record,) = (r for r in caplog.records if getattr(r, "event", "") == "outbox.refused")
    assert record.levelno == logging.ERROR
    written(connection, event())
    assert bus.drain(connection, 1) == 1  # though the large one comes first
    assert bus.drain(connection, 1) == 0
    assert waiting(connection) == 1


def test_what_was_refused_is_tried_again(
    kafka: str, bus: KafkaBus, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_outbox, "_ASIDE_SECONDS", 0.0)
    configure(kafka, "purchase-created", max_message_bytes="2000")
    written(connection, event(note=noise(5000)))
    for _ in range(2):
        with pytest.raises(BusRefused):
            bus.drain(connection, 10)
    configure(kafka, "purchase-created", max_message_bytes="100000")
    assert bus.drain(connection, 10) == 1


def test_a_batch_that_is_too_large_is_published_one_by_one(
    kafka: str, bus: KafkaBus, connection: Connection
) -> None:
    configure(kafka, "purchase-created", max_message_bytes="2000")
    written(connection, *(event(note=noise(400)) for _ in range(20)))
    assert bus.drain(connection, 100) == 20
    assert len(arrived(kafka, 20)) == 20


def test_events_of_a_missing_topic_wait_while_others_go_on(
    kafka: str, bus: KafkaBus, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.delete_topics(["purchase-confirmed"]).values():
        done.result(_SECONDS)
    written(connection, *(event("PURCHASE_CONFIRMED") for _ in range(5)), event(), event())
    with pytest.raises(BusRefused, match=r"python -m app\.consumers topics create"):
        bus.drain(connection, 2)
    assert bus.drain(connection, 2) == 2  # though three of the missing topic's come first
    assert waiting(connection) == 5
    bus.create_topics(partitions=3, replicas=1)
    monkeypatch.setattr(kafka_outbox, "monotonic", lambda: float("inf"))  # a minute later
    assert bus.drain(connection, 10) == 5
