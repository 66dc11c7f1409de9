"""Topics and groups of Kafka, as an operator sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from time import monotonic, sleep
from typing import TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # without __all__
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from app.events.bus import BusRefused, BusUnavailable, Lag
from app.events.kafka_client import (
    CREATE_TOPICS,
    error_of,
    reason,
    refused,
    settings,
    topic_is_missing,
)
from app.events.kafka_committed import committed
from app.events.kafka_holdings import Place

T = TypeVar("T")

_SECONDS = 5.0  # for one answer
_TOPIC_SECONDS = 15.0  # until new topics are there
_NOBODY = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN})
# A broker that started a moment ago, a topic that was created a moment ago.
_NOT_YET = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)
_MEMBERS = frozenset({KafkaError.NON_EMPTY_GROUP, KafkaError.UNKNOWN_MEMBER_ID})
_OLDEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_END = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class KafkaAdmin:
    """One client, made when it is first needed; any thread may use it.

    Every method raises BusUnavailable within seconds when brokers are away.
    """

    def __init__(self, *, brokers: Sequence[str]):
        self._config = settings(brokers)
        self._lock = threading.Lock()
        self._client: AdminClient | None = None

    def lags(self, groups: Mapping[str, str]) -> list[Lag]:
        """As Bus.lags; markers that transactions and compaction leave are counted, too."""

        def ask() -> list[Lag]:
            places = self._places(set(groups.values()))
            starts = self._offsets(places, _OLDEST)
            ends = self._offsets(places, _END)
            own = {
                group: [place for place in places if place[0] == topic]
                for group, topic in groups.items()
            }
            positions = self._positions(own, starts)
            return [
                Lag(
                    group=group,
                    topic=topic,
                    waiting=sum(max(0, ends[place] - at) for place, at in positions[group].items()),
                )
                for group, topic in groups.items()
            ]

        return _asked(ask)

    def replay(self, group: str, topic: str, start: datetime | None) -> int:
        """As Bus.replay, by the time of publication; what the group has not had yet stays to come.

        Raises BusRefused while the group has members: they would go on from where they are.
        """

        def ask() -> int:
            self._refuse_members(group)
            places = self._places({topic})
            starts = self._offsets(places, _OLDEST)
            ends = self._offsets(places, _END)
            since = starts if start is None else self._since(places, start, ends)
            positions = self._positions({group: places}, starts)[group]
            # Never forward: what waits before `start` was not asked to be skipped.
            begin = {place: min(since[place], positions[place]) for place in places}
            self._set_positions(group, begin)
            return sum(ends[place] - begin[place] for place in places)

        return _asked(ask)

    def create_topics(self, names: Sequence[str], *, partitions: int, replicas: int) -> list[str]:
        """Creates those that are missing, waits until they can be used, and names them."""

        def ask() -> list[str]:
            there = self._opened().list_topics(timeout=_SECONDS).topics
            missing = [name for name in names if name not in there]
            if not missing:
                return []
            asked = self._opened().create_topics(
                [NewTopic(name, partitions, replicas) for name in missing],
                operation_timeout=_SECONDS,
                request_timeout=_SECONDS,
            )
            created = [name for name in missing if _created(asked[name])]
            self._wait_until_served(missing)
            return created

        return _asked(ask)

    def close(self) -> None:
        with self._lock:
            self._client = None

    def _opened(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                self._client = AdminClient(self._config)
            self._client.poll(0)  # for librdkafka's log
            return self._client

    def _places(self, topics: set[str]) -> list[Place]:
        """The partitions of the topics; raises BusUnavailable when one is missing."""
        found = self._opened().list_topics(timeout=_SECONDS).topics
        for topic in sorted(topics):
            if topic not in found:
                raise BusUnavailable(f"Kafka has no topic {topic}: {CREATE_TOPICS}")
        return [(topic, number) for topic in sorted(topics) for number in found[topic].partitions]

    def _offsets(self, places: Sequence[Place], where: OffsetSpec) -> dict[Place, int]:
        asked = self._opened().list_offsets(
            {TopicPartition(*place): where for place in places},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_SECONDS,
        )
        return {(tp.topic, tp.partition): _answer(each).offset for tp, each in asked.items()}

    def _since(
        self, places: Sequence[Place], start: datetime, ends: Mapping[Place, int]
    ) -> dict[Place, int]:
        """The first offsets at or after `start`; the end where there is none."""
        milliseconds = int(start.timestamp() * 1000)
        found = self._offsets(places, OffsetSpec.for_timestamp(milliseconds))
        return {place: ends[place] if at < 0 else at for place, at in found.items()}

    def _positions(
        self, groups: Mapping[str, Sequence[Place]], starts: Mapping[Place, int]
    ) -> dict[str, dict[Place, int]]:
        """Where each group goes on: at what it has committed, else at the oldest message."""
        return {
            group: {place: max(at, starts[place]) for place, at in offsets.items()}
            for group, offsets in committed(self._config, groups, seconds=_SECONDS).items()
        }

    def _set_positions(self, group: str, positions: Mapping[Place, int]) -> None:
        request = ConsumerGroupTopicPartitions(
            group, [TopicPartition(*place, offset) for place, offset in positions.items()]
        )
        (asked,) = (
            self._opened()
            .alter_consumer_group_offsets([request], request_timeout=_SECONDS)
            .values()
        )
        try:
            failed = [each.error for each in _answer(asked).topic_partitions if each.error]
        except KafkaException as error:
            failed = [error_of(error)]
        for cause in failed:
            raise _has_members(group) if cause.code() in _MEMBERS else KafkaException(cause)

    def _refuse_members(self, group: str) -> None:
        asked = self._opened().describe_consumer_groups([group], request_timeout=_SECONDS)[group]
        try:
            state = _answer(asked).state
        except KafkaException as error:
            if error_of(error).code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            raise
        if state not in _NOBODY:
            raise _has_members(group)

    def _wait_until_served(self, topics: Sequence[str]) -> None:
        deadline = monotonic() + _TOPIC_SECONDS
        while not self._served(topics):
            if monotonic() > deadline:
                raise BusUnavailable(
                    f"Kafka has created {', '.join(topics)}, but does not serve them after "
                    f"{_TOPIC_SECONDS:g} s"
                )
            sleep(0.05)

    def _served(self, topics: Sequence[str]) -> bool:
        """Whether the leader of each partition answers; the metadata names it some time before."""
        found = self._opened().list_topics(timeout=_SECONDS).topics
        if not all(topic in found and found[topic].partitions for topic in topics):
            return False
        places = [(topic, number) for topic in topics for number in found[topic].partitions]
        try:
            self._offsets(places, _END)
        except KafkaException as error:
            if error_of(error).code() in _NOT_YET or topic_is_missing(error_of(error)):
                return False
            raise
        return True


def _asked(ask: Callable[[], T]) -> T:
    """What it returns; called again, for some seconds, while a broker is about to serve."""
    deadline = monotonic() + _SECONDS
    while True:
        try:
            return ask()
        except FutureTimeoutError:
            raise BusUnavailable(f"Kafka is away: no answer within {_SECONDS:g} s") from None
        except KafkaException as exception:
            error = error_of(exception)
            if refused(error):
                raise BusRefused(f"Kafka refuses: {reason(error)}") from None
            if error.code() not in _NOT_YET or monotonic() > deadline:
                raise BusUnavailable(f"Kafka is away: {reason(error)}") from None
        sleep(0.1)


def _answer(future: Future[T]) -> T:
    return future.result(_SECONDS + 1)  # librdkafka's own time is over before


def _created(asked: Future[None]) -> bool:
    """False when somebody else was faster."""
    try:
        _answer(asked)
    except KafkaException as error:
        if error_of(error).code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True


def _has_members(group: str) -> BusRefused:
    return BusRefused(f"stop the group's consumers first: {group} has members")
