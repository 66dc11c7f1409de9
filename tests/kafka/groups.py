"""Members of consumer groups, and what tests put before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.events.bus import Message, Outgoing
from app.events.kafka_subscription import KafkaSubscription
from tests.wait import wait_until

GROUP = "some-workers"
TOPIC = "purchase-created"  # of three partitions
SECONDS = 60.0  # a group's rebalances on a busy machine

_members: list[KafkaSubscription] = []


def numbered(count: int, *, start: int = 0, topic: str = TOPIC) -> list[Outgoing]:
    """Messages `0`, `1`, …, each with a key of its own, so that they go to all partitions."""
    numbers = range(start, start + count)
    return [Outgoing(topic=topic, key=f"key {n}", value=str(n).encode()) for n in numbers]


def values(messages: Iterable[Message]) -> list[int]:
    """The numbers of such messages, in the order of numbers."""
    return sorted(int(message.value) for message in messages)


def subscribed(
    address: str,
    *,
    group: str = GROUP,
    topic: str = TOPIC,
    settle: Callable[[], None] = lambda: None,
    **overrides: Any,
) -> KafkaSubscription:
    """A member, for as long as the test lasts.

    Overrides are librdkafka's names with `_` for `.`: session_timeout_ms=1500.
    """
    member = KafkaSubscription(
        brokers=[address],
        group=group,
        topics=[topic],
        settle=settle,
        overrides={name.replace("_", "."): value for name, value in overrides.items()},
    )
    _members.append(member)
    return member


def leave_all() -> None:
    """Closes the members that a test has left open: they would live as long as the process."""
    while _members:
        _members.pop().close()


def receive(
    subscription: KafkaSubscription,
    count: int,
    *,
    beside: Sequence[KafkaSubscription] = (),
) -> list[Message]:
    """That many messages, or more; those beside keep what they hold meanwhile."""
    received: list[Message] = []

    def enough() -> bool:
        received.extend(subscription.receive(100, 0.1))
        for other in beside:
            other.keep()
        return len(received) >= count

    wait_until(enough, what=f"{count} messages", seconds=SECONDS)
    return received
