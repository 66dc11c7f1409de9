# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore
"""What keeps a member from receiving, though librdkafka goes on trying. An operator mends it."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException

from app.events.bus import BusUnavailable
from app.events.kafka_client import CREATE_TOPICS, error_of, reason, refused, topic_is_missing

_METADATA_SECONDS = 2.0


class Trouble:
    """Notes what librdkafka says once, and raises it until it is over."""

    def __init__(self, topics: Sequence[str]):
        self._topics = topics
        self._away = False
        self._refusal: KafkaError | None = None
        self._missing: set[str] = set()

    def note(self, error: KafkaError, topic: str | None = None) -> bool:
        """Whether the error is of these kinds."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = True
        elif topic_is_missing(error):
            self._missing.add(topic or self._topics[0])
        elif refused(error):
            self._refusal = error
        else:
            return False
        return True

    def raise_for(self, consumer: Consumer) -> None:
        """Raises BusUnavailable while brokers are away, a topic is missing or may not be read."""
        self._raise_away(consumer)
        self._raise_refusal()
        self._raise_missing(consumer)

    def _raise_away(self, consumer: Consumer) -> None:
        """librdkafka says when all brokers are gone, and not when one answers again."""
        if not self._away:
            return
        try:
            consumer.list_topics(self._topics[0], timeout=_METADATA_SECONDS)
        except KafkaException as error:
            raise BusUnavailable(f"Kafka is away: {reason(error_of(error))}") from None
        self._away = False

    def _raise_refusal(self) -> None:
        """Once each time that Kafka says so: an operator may allow it meanwhile."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise BusUnavailable(f"Kafka refuses: {reason(refusal)}")

    def _raise_missing(self, consumer: Consumer) -> None:
        """librdkafka subscribes by itself when it hears of the topic: from this answer."""
        for topic in sorted(self._missing):
            try:
                found = consumer.list_topics(topic, timeout=_METADATA_SECONDS).topics.get(topic)
            except KafkaException as error:
                raise BusUnavailable(f"Kafka is away: {reason(error_of(error))}") from None
            if found is None or found.error is not None:
                raise BusUnavailable(f"Kafka has no topic {topic}: {CREATE_TOPICS}")
            self._missing.discard(topic)
