"""What a consumer does with its events: the part that knows the business."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg

from app.events.envelope import Envelope
from app.events.retry import Policy

Fact = TypeVar("Fact")
Transaction = psycopg.Connection[Any]


class Rejected(Exception):  # noqa: N818 - the handler's verdict
    """This event will never work: it is a dead letter at once."""


class Unreachable(Exception):  # noqa: N818 - a state of the world, not a fault
    """What the handler calls cannot be reached: to be tried again, and no attempt is spent."""


class Handler(ABC, Generic[Fact]):
    """One consumer's business, event by event and in batches.

    An event passes `read`, then `call` if `calls` is not 0, then `write`. Any other exception than
    those named spends one of the policy's attempts.
    """

    name: str  # the guard's consumer
    group: str
    type: str  # of the events it takes
    policy: Policy
    batch: int = 500  # events in one transaction, at most
    calls: int = 0  # how many are made at once; 0: none

    @abstractmethod
    def read(self, event: Envelope) -> Fact:
        """What the event says, validated; raises Rejected."""

    def settled(self, connection: Transaction, work: Sequence[tuple[Envelope, Fact]]) -> set[UUID]:
        """The ids of events whose outcome stands already, so that no call is to be made."""
        del connection, work
        return set()

    def call(self, event: Envelope, fact: Fact) -> Fact:
        """What is done outside the database, in no transaction; raises Rejected, Unreachable.

        It returns what is to be written. It may be called again for the same event, also after it
        succeeded, and by several threads at once.
        """
        del event
        return fact

    @abstractmethod
    def write(
        self, connection: Transaction, work: Sequence[tuple[Envelope, Fact]]
    ) -> Sequence[Envelope]:
        """Writes the rows of these events and returns what is to be told of them.

        Within the transaction that also holds the guard: it comes once for each event. No event is
        told twice when the row was there before, whoever wrote it.
        """

    def close(self) -> None:
        """Gives up what `call` holds."""
