"""From the outbox to Kafka."""

from __future__ import annotations

import logging
from time import monotonic

from confluent_kafka import KafkaError

from app.db import Connection
from app.events import outbox
from app.events.bus import BusRefused, BusUnavailable, Outgoing
from app.events.kafka_client import reason, refused, topic_is_missing
from app.events.kafka_producer import KafkaProducer
from app.events.topics import TOPICS

log = logging.getLogger(__name__)

_ASIDE_SECONDS = 60.0


class KafkaOutbox:
    """Publishes what waits; one thread uses it.

    What Kafka refuses stays in the outbox and is left out for a minute, so that what comes after it
    goes on: the row, or all of its topic when that is missing.
    """

    def __init__(self, producer: KafkaProducer):
        self._producer = producer
        self._aside: dict[int | str, float] = {}  # row or topic, until when (monotonic seconds)

    def drain(self, connection: Connection, most: int) -> int:
        """As Bus.drain; what was delivered is noted before anything is raised."""
        waiting = self._waiting(connection, most)
        outcomes = self._deliver(waiting)
        delivered = [number for number, error in outcomes.items() if error is None]
        if delivered:
            # Only now: a crash in between publishes them twice, the other way round not at all.
            outbox.published(connection, delivered)
        failed = {number: error for number, error in outcomes.items() if error is not None}
        for number, error in failed.items():
            if refused(error):
                self._put_aside(number, waiting[number].topic, error)
        if failed:
            error = min(failed.values(), key=refused)
            text = f"Kafka took {len(delivered)} of {len(waiting)} events: {reason(error)}"
            raise BusRefused(text) if refused(error) else BusUnavailable(text)
        return len(delivered)

    def _waiting(self, connection: Connection, most: int) -> dict[int, Outgoing]:
        now = monotonic()
        self._aside = {what: until for what, until in self._aside.items() if until > now}
        # No row is held while Kafka is asked: one process at a time drains.
        return outbox.unpublished(
            connection,
            most,
            types=[name for name, topic in TOPICS.items() if topic not in self._aside],
            without=[what for what in self._aside if isinstance(what, int)],
        )

    def _deliver(self, messages: dict[int, Outgoing]) -> dict[int, KafkaError | None]:
        outcomes = dict(zip(messages, self._producer.deliver(list(messages.values())), strict=True))
        # Messages travel in batches, and a broker that finds a batch too large refuses all of it.
        # Alone each is refused for its own sake.
        for number, error in outcomes.items():
            if error is not None and refused(error) and not topic_is_missing(error):
                (outcomes[number],) = self._producer.deliver([messages[number]])
        return outcomes

    def _put_aside(self, number: int, topic: str, error: KafkaError) -> None:
        self._aside[topic if topic_is_missing(error) else number] = monotonic() + _ASIDE_SECONDS
        log.error(
            "Kafka refuses event %d of the outbox, for %s: %s; it is tried again in %d s",
            *(number, topic, reason(error), _ASIDE_SECONDS),
            extra={"event": "outbox.refused", "outbox_id": number, "topic": topic},
        )
