"""How far groups of Kafka have come, asked by somebody who is no member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.events.kafka_holdings import Place


def committed(
    config: Mapping[str, Any], groups: Mapping[str, Sequence[Place]], *, seconds: float
) -> dict[str, dict[Place, int]]:
    """The next offset of each group at its places; negative where it has committed none.

    `config` is librdkafka's. Raises KafkaException, within so many seconds.

    A consumer of each group asks, which joins nothing. The admin client's
    list_consumer_group_offsets ends the process with a segmentation fault when the group's
    coordinator has just started or moves (librdkafka 2.16, its issue 5040).
    """
    deadline = monotonic() + seconds
    with ExitStack() as opened:
        asking = {  # all connect at the same time
            group: opened.enter_context(closing(Consumer(_settings(config, group))))
            for group in groups
        }
        return {
            group: _offsets(
                consumer.committed(
                    [TopicPartition(*place) for place in groups[group]],
                    timeout=max(0.0, deadline - monotonic()),
                )
            )
            for group, consumer in asking.items()
        }


def _settings(config: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {**config, "group.id": group, "enable.auto.commit": False}


def _offsets(answer: Sequence[TopicPartition]) -> dict[Place, int]:
    for each in answer:
        if each.error is not None:
            raise KafkaException(each.error)
    return {(each.topic, each.partition): each.offset for each in answer}
