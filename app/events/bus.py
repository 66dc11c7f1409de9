"""What carries events from the outbox to their consumers: what both buses promise.

Delivery is at least once and in no promised order: a message that was received and not acknowledged
comes again, to this member of the group or to another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from app.db import Connection

# A message with this header is for one group; the others acknowledge it unread.
ONLY_GROUP = "only-group"


class BusUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault
    """The bus cannot be asked now; the message says why, in one line."""


class BusRefused(Exception):  # noqa: N818 - the bus's own answer
    """The bus was asked and says no; the message says why, in one line."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """What is to be published."""

    topic: str
    key: str  # messages of one key keep their order on Kafka: the correlation id
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Message:
    """What was published, and where it stands; topic, partition and offset name it for ever."""

    topic: str
    partition: int  # 0 on Postgres
    offset: int  # the row of event_log on Postgres
    key: str
    value: bytes  # as it was published; perhaps no event at all
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lag:
    """What a group has still to do in a topic."""

    group: str
    topic: str
    waiting: int  # messages that are not acknowledged


class Subscription(Protocol):
    """One member of a group; to be used by one thread.

    Every method but `close` raises BusUnavailable when the bus is away, and may be called again.
    """

    def receive(self, most: int, seconds: float) -> list[Message]:
        """Up to `most` messages that this member holds from now on; [] after `seconds`."""

    def keep(self) -> None:
        """Holds on to what was received; to be called each second while work goes on."""

    def holds(self, message: Message) -> bool:
        """Whether it is still this member's to work on, as far as is known without asking."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """These need not come again. What cannot be told to the bus now comes again: no error."""

    def close(self) -> None:
        """Leaves the group within seconds; what is not acknowledged goes to others at once."""


class Bus(Protocol):
    """One way of publishing and subscribing; its methods may be called from any thread."""

    name: str  # postgres or kafka

    def subscribe(
        self, group: str, topics: Sequence[str], *, settle: Callable[[], None]
    ) -> Subscription:
        """A new member of the group; a new group begins with the oldest message that is kept.

        `settle` is called, by the subscription's own thread, before messages go to another member:
        it finishes and acknowledges what is under way, within seconds.
        """

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Returns when all are on the bus for good; raises BusUnavailable, with some perhaps on it.

        Raises BusRefused when the bus takes a message at no time: too large, no such topic.
        """

    def drain(self, connection: Connection, most: int) -> int:
        """Publishes up to `most` rows of the outbox in their order, and says how many.

        `connection` is in autocommit mode. Raises BusUnavailable, BusRefused, psycopg.Error; a row
        may then be on the bus, and will be there twice. One process at a time calls it.
        """

    def prune(self, connection: Connection, *, days: int, most: int) -> int:
        """Deletes up to `most` messages that are older and that no group waits for; how many."""

    def lags(self, groups: Mapping[str, str]) -> list[Lag]:
        """What each group has still to do in its topic; raises BusUnavailable."""

    def replay(self, group: str, topic: str, start: datetime | None) -> int:
        """Lets the group have all messages since `start` (None: the oldest) again; how many.

        Raises BusUnavailable, and BusRefused where that needs the group's members to be stopped.
        """

    def create_topics(self, *, partitions: int, replicas: int) -> list[str]:
        """Creates the topics that are missing and names them; raises BusUnavailable, BusRefused."""

    def close(self) -> None:
        """Gives up what is held."""
