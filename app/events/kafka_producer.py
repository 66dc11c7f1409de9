"""Messages on their way to Kafka, each with its outcome."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.events.bus import BusRefused, BusUnavailable, Outgoing
from app.events.kafka_client import (
    error_of,
    fatal,
    log,
    reason,
    refused,
    settings,
    topic_is_missing,
)

_TIMED_OUT = KafkaError._MSG_TIMED_OUT  # noqa: SLF001 - librdkafka's own codes begin so
_MESSAGE_SECONDS = 10.0
_AFTERWARDS = 2.0  # seconds for librdkafka to say that the time is over
_PRODUCER = {
    # All replicas in sync have it, and what is sent again after a lost answer is there once.
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    # A topic that was created a moment ago may not be known to each broker yet.
    "topic.metadata.propagation.max.ms": 5_000,
}


class KafkaProducer:
    """One producer, made when it is first needed; any thread may use it, one at a time.

    So each call knows which messages are its own, and leaves none behind when it fails.
    """

    def __init__(self, *, brokers: Sequence[str], seconds: float = _MESSAGE_SECONDS):
        self._seconds = seconds
        self._config = (
            settings(brokers)
            | _PRODUCER
            | {
                "message.timeout.ms": round(seconds * 1000),
                "request.timeout.ms": round(seconds * 500),
                "error_cb": self._failed,
            }
        )
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._broken = False

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """As Bus.publish."""
        failed = [error for error in self.deliver(messages) if error is not None]
        if not failed:
            return
        # What may pass comes first: the rest is refused again when that is tried again.
        error = min(failed, key=refused)
        text = f"Kafka took {len(messages) - len(failed)} of {len(messages)}: {reason(error)}"
        raise BusRefused(text) if refused(error) else BusUnavailable(text)

    def deliver(self, messages: Sequence[Outgoing]) -> list[KafkaError | None]:
        """What became of each; None: all replicas in sync have it. Within some 12 seconds.

        What failed may be on the bus all the same, or come to be there within these seconds, but
        not later.
        """
        if not messages:
            return []
        with self._lock:
            producer = self._opened()
            outcomes: list[KafkaError | None] = [KafkaError(_TIMED_OUT) for _ in messages]
            deadline = monotonic() + self._seconds
            for index, message in enumerate(messages):
                try:
                    _produce(producer, message, functools.partial(_note, outcomes, index), deadline)
                except KafkaException as error:  # it never left
                    outcomes[index] = error_of(error)
            left = producer.flush(max(0.0, deadline - monotonic()) + _AFTERWARDS)
            failed = [error for error in outcomes if error is not None]
            # One that has missed a topic goes on missing it for minutes after its creation.
            if left or self._broken or any(topic_is_missing(e) or fatal(e) for e in failed):
                self._give_up(producer)
            return outcomes

    def close(self) -> None:
        """Gives up the connection; the next call makes another."""
        with self._lock:
            producer, self._producer = self._producer, None
            if producer is not None:
                producer.close()  # nothing waits in it: each call has seen to that

    def _opened(self) -> Producer:
        if self._producer is None:
            self._broken = False
            self._producer = Producer(self._config)
        return self._producer

    def _failed(self, error: KafkaError) -> None:
        """Called by librdkafka within produce and flush, hence with our lock held."""
        if fatal(error):
            log.error("FATAL producer: %s", reason(error))
            self._broken = True

    def _give_up(self, producer: Producer) -> None:
        """Nothing of it is to be delivered later; what was in flight needs a new producer."""
        self._producer = None
        producer.purge()
        producer.flush(_AFTERWARDS)
        producer.close()


def _produce(
    producer: Producer,
    message: Outgoing,
    note: Callable[[KafkaError | None, Message[Any, Any]], None],
    deadline: float,
) -> None:
    while True:
        try:
            producer.produce(
                message.topic,
                value=message.value,
                key=message.key.encode(),
                headers=[(name, value.encode()) for name, value in message.headers.items()],
                on_delivery=note,
            )
        except BufferError:
            # librdkafka's queue is full: room comes as messages are delivered, or time out.
            if monotonic() > deadline:
                return
            producer.poll(0.05)
        else:
            return


def _note(
    outcomes: list[KafkaError | None], index: int, error: KafkaError | None, _: Message[Any, Any]
) -> None:
    outcomes[index] = error
