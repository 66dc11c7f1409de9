"""Events through Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from app.db import Connection
from app.events.bus import Lag, Outgoing, Subscription
from app.events.kafka_admin import KafkaAdmin
from app.events.kafka_outbox import KafkaOutbox
from app.events.kafka_producer import KafkaProducer
from app.events.kafka_subscription import KafkaSubscription
from app.events.topics import ALL


class KafkaBus:
    """As bus.Bus; nothing is connected before it is needed, and nothing survives a fork."""

    name = "kafka"

    def __init__(self, *, brokers: Sequence[str]):
        self._brokers = tuple(brokers)
        self._producer = KafkaProducer(brokers=brokers)
        self._outbox = KafkaOutbox(self._producer)
        self._admin = KafkaAdmin(brokers=brokers)

    def subscribe(
        self, group: str, topics: Sequence[str], *, settle: Callable[[], None]
    ) -> Subscription:
        return KafkaSubscription(brokers=self._brokers, group=group, topics=topics, settle=settle)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        self._producer.publish(messages)

    def drain(self, connection: Connection, most: int) -> int:
        return self._outbox.drain(connection, most)

    def prune(self, connection: Connection, *, days: int, most: int) -> int:  # noqa: ARG002
        """Nothing: Kafka deletes by itself, as the topics' retention says."""
        return 0

    def lags(self, groups: Mapping[str, str]) -> list[Lag]:
        return self._admin.lags(groups)

    def replay(self, group: str, topic: str, start: datetime | None) -> int:
        return self._admin.replay(group, topic, start)

    def create_topics(self, *, partitions: int, replicas: int) -> list[str]:
        return self._admin.create_topics(ALL, partitions=partitions, replicas=replicas)

    def close(self) -> None:
        self._producer.close()
        self._admin.close()
