# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore
"""One member of a consumer group of Kafka."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Received

from app.events.bus import BusUnavailable, Message
from app.events.kafka_client import error_of, fatal, reason, settings
from app.events.kafka_holdings import Holdings
from app.events.kafka_message import message_of
from app.events.kafka_trouble import Trouble

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
_AHEAD = 1_000  # messages
_EVENTS = 100  # that one look at the queue may bring while the partitions are paused
_CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    # A rebalance takes from a member only what goes to another.
    "partition.assignment.strategy": "cooperative-sticky",
    # A member that was killed is noticed within the first, a rebalance within the second.
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 1_000,
    # Between two calls of `receive` or `keep`; a statement of the database takes at most 5 s.
    "max.poll.interval.ms": 300_000,
    "topic.metadata.refresh.interval.ms": 60_000,
    # The messages that wait in librdkafka; what `keep` leaves of them is fetched again.
    "queued.min.messages": 5_000,
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 20,
}
# A rebalance or a broker's absence ends in these; the next commit says it again, or the new owner
# gets the messages again.
_EXPECTED = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError._NO_OFFSET,
        KafkaError._WAIT_COORD,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._DESTROY,
    }
)


class KafkaSubscription:
    """As bus.Subscription. The consumer is made with the first `receive`, by the calling thread."""

    def __init__(
        self,
        *,
        brokers: Sequence[str],
        group: str,
        topics: Sequence[str],
        settle: Callable[[], None],
        overrides: Mapping[str, Any] | None = None,  # librdkafka's names; for tests
    ):
        self._group = group
        self._topics = list(topics)
        self._settle = settle
        self._config = (
            settings(brokers)
            | _CONSUMER
            | {"group.id": group, "on_commit": self._on_commit, "error_cb": self._on_error}
            | dict(overrides or {})
        )
        self._consumer: Consumer | None = None
        self._holdings = Holdings()
        self._paused = False
        self._settling = False
        self._trouble = Trouble(self._topics)
        self._fatal: KafkaError | None = None

    def receive(self, most: int, seconds: float) -> list[Message]:
        """As bus.Subscription.

        Raises BusUnavailable when all brokers are away (librdkafka connects by itself), when a
        topic is missing or may not be read (it goes on once that is mended), and when librdkafka
        gave up (the next call begins anew).
        """
        consumer = self._opened()
        with self._translated():
            if self._paused:
                self._paused = False
                consumer.resume(consumer.assignment())
            self._commit(consumer)
            deadline = monotonic() + seconds
            while not self._holdings.waiting and self._fatal is None:
                first = consumer.poll(max(0.0, deadline - monotonic()))
                if first is None:
                    break
                self._put([first])
            # What else is here already. Also when enough waits: the callbacks must run.
            self._put(consumer.consume(max(1, most - self._holdings.waiting), 0))
        self._raise_fatal()
        if not self._holdings.waiting:
            self._trouble.raise_for(consumer)
        return self._holdings.take(most)

    def keep(self) -> None:
        """As bus.Subscription; until `receive`, callbacks run and nothing is fetched."""
        consumer = self._consumer
        if consumer is None or self._settling:
            return
        with self._translated():
            if not self._paused:
                # For the next batches: it takes up to a second until fetching goes on (measured),
                # and what was fetched is fetched again.
                self._put(consumer.consume(max(1, _AHEAD - self._holdings.waiting), 0))
                self._paused = True
                _pause(consumer, consumer.assignment())
            self._put(consumer.consume(_EVENTS, 0))
        self._raise_fatal()

    def holds(self, message: Message) -> bool:
        return self._holdings.holds(message)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self._holdings.finish(messages)
        if self._consumer is not None:
            self._commit(self._consumer)

    def close(self) -> None:
        """As bus.Subscription, within 5 s; what is under way is not waited for."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        self._commit(consumer)
        self._holdings.lose_all()
        # librdkafka waits for the commit's answer and leaves the group; while brokers are away it
        # waits for them, for as long as that takes.
        leaving = _leave(consumer)
        leaving.join(_CLOSE_SECONDS)
        if leaving.is_alive():
            log.warning(
                "Kafka did not answer within %d s: it notices later that we left group %s",
                *(_CLOSE_SECONDS, self._group),
                extra={"event": "kafka.left_unanswered", "group": self._group},
            )

    def _opened(self) -> Consumer:
        if self._consumer is None:
            self._fatal = None
            self._paused = False
            self._consumer = Consumer(self._config)
            self._consumer.subscribe(
                self._topics,
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
        return self._consumer

    def _put(self, received: Iterable[Received[Any, Any]]) -> None:
        for each in received:
            error = each.error()
            if error is None:
                self._holdings.put(message_of(each))
            elif fatal(error):
                self._fatal = error
            elif not self._trouble.note(error, each.topic()):
                log.warning(
                    "Group %s: %s",
                    *(self._group, reason(error)),
                    extra={"event": "kafka.consumer_error", "group": self._group},
                )

    def _commit(self, consumer: Consumer) -> None:
        """Tells Kafka what has moved, without waiting for its answer."""
        due = [TopicPartition(*moved) for moved in self._holdings.to_tell()]
        if due:
            try:
                consumer.commit(offsets=due, asynchronous=True)
            except KafkaException as error:
                self._on_commit(error_of(error), due)

    # What librdkafka calls within poll, consume and close. A consumer that was given up may still
    # call, from the thread that closes it: it is none of ours any more.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._holdings.gain((each.topic, each.partition) for each in partitions)
        consumer.incremental_assign(partitions)
        if self._paused:
            _pause(consumer, partitions)
        else:
            # A pause outlives the partition's loss: it may have gone while it was paused.
            consumer.resume(partitions)
        self._log_partitions("got", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._settling = True
        try:
            self._settle()
        except Exception:
            # Raised from here it would come out of librdkafka's poll, the partitions in between.
            log.exception(
                "Work was not brought to its end before partitions of group %s went",
                self._group,
                extra={"event": "kafka.settle_failed", "group": self._group},
            )
        finally:
            self._settling = False
        # Not asynchronous=False, which waits without end while the broker is away. No need for it:
        # librdkafka gives partitions up when commits are answered (rdkafka_assignment.c).
        self._commit(consumer)
        self._holdings.lose((each.topic, each.partition) for each in partitions)
        self._log_partitions("gave up", partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others may have them already: there is nothing to settle, and no commit would count."""
        if consumer is not self._consumer:
            return
        self._holdings.lose((each.topic, each.partition) for each in partitions)
        self._log_partitions("lost", partitions)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        failed: dict[int, KafkaError] = {}
        for each in partitions:
            why = each.error or error
            if why is not None:
                failed[why.code()] = why
                self._holdings.untold(each.topic, each.partition, each.offset)
        for code, why in failed.items():
            log.log(
                logging.INFO if code in _EXPECTED else logging.WARNING,
                "Kafka did not take what group %s has finished: %s",
                *(self._group, reason(why)),
                extra={"event": "kafka.commit_failed", "group": self._group},
            )

    def _on_error(self, error: KafkaError) -> None:
        """What is not fatal librdkafka mends itself, and has logged."""
        if fatal(error):
            self._fatal = error
        else:
            self._trouble.note(error)

    def _raise_fatal(self) -> None:
        """Raises BusUnavailable when librdkafka gave up; the consumer is given up, too."""
        if self._fatal is None:
            return
        consumer, self._consumer = self._consumer, None
        self._holdings.lose_all()
        if consumer is not None:
            _leave(consumer)
        raise BusUnavailable(f"Kafka's client gave up: {reason(self._fatal)}")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            cause = error_of(error)
            if fatal(cause):
                self._fatal = cause
                self._raise_fatal()
            raise BusUnavailable(f"Kafka: {reason(cause)}") from None

    def _log_partitions(self, verb: str, partitions: Sequence[TopicPartition]) -> None:
        if partitions:
            names = ", ".join(f"{each.topic}/{each.partition}" for each in partitions)
            log.info(
                "Group %s: %s %s",
                *(self._group, verb, names),
                extra={"event": f"kafka.{verb.replace(' ', '_')}", "group": self._group},
            )


def _leave(consumer: Consumer) -> threading.Thread:
    leaving = threading.Thread(target=consumer.close, name="kafka-leaving", daemon=True)
    leaving.start()
    return leaving


def _pause(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    # One that librdkafka is about to take away cannot be paused: what it still brings is put aside.
    with contextlib.suppress(KafkaException):
        consumer.pause(partitions)
