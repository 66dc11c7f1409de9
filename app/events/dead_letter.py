"""Events that were given up: on the dead-letter queue, and in a table to look them up."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from psycopg.types.json import Jsonb

from app.events.bus import Message, Outgoing
from app.events.envelope import Envelope
from app.events.handler import Transaction
from app.events.topics import DEAD_LETTERS

# Never to change: a letter written again has the same id.
_LETTERS = UUID("3d7c5f0a-7b1e-4f43-8a56-90cf0e5f7d18")

# What a header holds of it, in characters: the whole one is in the table.
_STACK_IN_HEADERS = 8000

# Once more it died, after a redrive or a crash: the row says so, and waits again.
_KEEP = """
INSERT INTO dead_letter (id, consumer, group_name, topic, partition, log_offset, message_key,
    message, headers, event_id, correlation_id, type, attempts, error, stack)
VALUES (%(id)s, %(consumer)s, %(group)s, %(topic)s, %(partition)s, %(offset)s, %(key)s,
    %(message)s, %(headers)s, %(event_id)s, %(correlation_id)s, %(type)s, %(attempts)s,
    %(error)s, %(stack)s)
ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts, error = excluded.error,
    stack = excluded.stack, died_at = now(), redriven_at = NULL
"""

_WAITING = "SELECT id FROM dead_letter WHERE id = ANY(%s) AND redriven_at IS NULL"


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message as it came, and why it was given up."""

    consumer: str
    group: str
    message: Message
    event: Envelope | None  # None: it could not be read
    attempts: int  # 0: it was not even tried
    error: str  # one line
    stack: str

    @property
    def id(self) -> UUID:
        """The same for the same message and group."""
        return id_of(self.group, self.message)

    def outgoing(self) -> Outgoing:
        """The message for the dead-letter queue: the bytes as they came, the rest in headers."""
        message = self.message
        return Outgoing(
            topic=DEAD_LETTERS,
            key=message.key,
            value=message.value,
            headers=dict(message.headers) | self._context(),
        )

    def outgoing_without_value(self) -> Outgoing:
        """The same for a queue that refuses the message, which is then in the table alone."""
        return Outgoing(
            topic=DEAD_LETTERS,
            key=self.message.key,
            value=b"",
            headers={"value-omitted": "see the table dead_letter", **self._context()},
        )

    def _context(self) -> dict[str, str]:
        message = self.message
        return {
            "dead-letter-id": str(self.id),
            "original-topic": message.topic,
            "original-partition": str(message.partition),
            "original-offset": str(message.offset),
            "group": self.group,
            "consumer": self.consumer,
            "attempts": str(self.attempts),
            "error": self.error,
            "stack": self.stack[-_STACK_IN_HEADERS:],
        }

    def keep(self, connection: Transaction) -> None:
        """Writes it into the table; again is the same."""
        message = self.message
        connection.execute(
            _KEEP,
            {
                "id": self.id,
                "consumer": self.consumer,
                "group": self.group,
                "topic": message.topic,
                "partition": message.partition,
                "offset": message.offset,
                "key": message.key.replace("\0", "�"),
                "message": message.value,
                "headers": Jsonb(_without_nul(dict(message.headers))),
                "event_id": self.event and self.event.event_id,
                "correlation_id": self.event and self.event.correlation_id,
                "type": self.event and self.event.type,
                "attempts": self.attempts,
                "error": self.error.replace("\0", "�"),
                "stack": self.stack.replace("\0", "�"),
            },
        )


def id_of(group: str, message: Message) -> UUID:
    """The id of the letter that this message becomes when the group gives it up."""
    place = f"{group}/{message.topic}/{message.partition}/{message.offset}"
    return uuid.uuid5(_LETTERS, place)


def waiting(connection: Transaction, ids: Iterable[UUID]) -> set[UUID]:
    """Those of the letters that were written and wait for the operator."""
    return {row[0] for row in connection.execute(_WAITING, (list(ids),))}


def _without_nul(headers: dict[str, str]) -> dict[str, str]:
    """Postgres' texts and jsonb know no NUL; the message itself is kept byte by byte."""
    return {k.replace("\0", "�"): v.replace("\0", "�") for k, v in headers.items()}
