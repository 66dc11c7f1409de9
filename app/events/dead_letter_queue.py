"""The dead letters that were kept: looked up, published again, deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row, dict_row

from app.events import attempts
from app.events.bus import ONLY_GROUP, Bus, Message, Outgoing
from app.events.handler import Transaction

_DELETED_AT_ONCE = 500  # rows in a transaction: each holds a whole message

_WHERE = """
WHERE (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s))
    AND (%(consumer)s::text IS NULL OR consumer = %(consumer)s)
    AND (%(redriven)s::boolean IS NULL OR (redriven_at IS NOT NULL) = %(redriven)s)
    AND (%(before)s::timestamptz IS NULL OR died_at < %(before)s)
"""

_ENTRY = """id, consumer, group_name AS "group", topic, partition, log_offset AS "offset", type,
    event_id, correlation_id, attempts, error, died_at, redriven_at"""

_ENTRIES = f"SELECT {_ENTRY} FROM dead_letter {_WHERE} ORDER BY died_at DESC, id LIMIT %(most)s"  # noqa: S608 - of constants

_IDS = f"SELECT id FROM dead_letter {_WHERE} ORDER BY died_at, id"  # noqa: S608 - of constants

_COUNT = f"""
SELECT count(*), count(*) FILTER (WHERE redriven_at IS NULL) FROM dead_letter {_WHERE}
"""  # noqa: S608 - of constants

# A range of the primary key, not a comparison of texts: no scan.
_IDENTIFY = "SELECT id FROM dead_letter WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2"

_LETTER = f"""
SELECT {_ENTRY}, message_key, message, headers, stack FROM dead_letter WHERE id = %(id)s
"""  # noqa: S608 - of constants

_MARK = "UPDATE dead_letter SET redriven_at = now() WHERE id = %(id)s"

# The lock waits for whoever writes a letter again just now, and looks at the row anew: it has died
# after `before` then, and stays.
_DELETE = f"""
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter {_WHERE} ORDER BY died_at, id LIMIT %(most)s FOR UPDATE
)
"""  # noqa: S608 - of constants


class LetterNotFound(Exception):  # noqa: N818 - the answer to a question
    """No letter has this id, or more than one begins with it; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which letters; what is None selects all."""

    ids: Sequence[UUID] | None = None
    consumer: str | None = None
    redriven: bool | None = None
    before: datetime | None = None  # they died earlier


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A letter as the list shows it."""

    id: UUID
    consumer: str
    group: str
    topic: str  # where the message stands: topic, partition, offset
    partition: int
    offset: int
    type: str | None  # None, as the ids: the message could not be read
    event_id: UUID | None
    correlation_id: UUID | None
    attempts: int
    error: str
    died_at: datetime
    redriven_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A letter with all that is known of it."""

    entry: Entry
    message: Message  # as it came
    stack: str

    def outgoing(self) -> Outgoing:
        """The message as it came, for the group that gave it up and no other."""
        message = self.message
        headers = {**message.headers, ONLY_GROUP: self.entry.group}
        return Outgoing(topic=message.topic, key=message.key, value=message.value, headers=headers)


def entries(connection: Transaction, selection: Selection, *, most: int) -> list[Entry]:
    """The newest first."""
    cursor = connection.cursor(row_factory=class_row(Entry))
    return cursor.execute(_ENTRIES, vars(selection) | {"most": most}).fetchall()


def ids(connection: Transaction, selection: Selection) -> list[UUID]:
    """The oldest first."""
    return [row[0] for row in connection.execute(_IDS, vars(selection))]


def count(connection: Transaction, selection: Selection) -> tuple[int, int]:
    """How many, and how many of them were not redriven."""
    row = connection.execute(_COUNT, vars(selection)).fetchone()
    assert row is not None  # noqa: S101 - a count is a row
    return int(row[0]), int(row[1])


def identify(connection: Transaction, text: str) -> UUID:
    """The id that begins so; raises LetterNotFound."""
    digits = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise LetterNotFound(f"{text!r}: expected a dead letter's id, or how it begins")
    ends = {"first": UUID(digits.ljust(32, "0")), "last": UUID(digits.ljust(32, "f"))}
    found = connection.execute(_IDENTIFY, ends).fetchall()
    if not found:
        raise LetterNotFound(f"no dead letter has the id {text}")
    if len(found) > 1:
        raise LetterNotFound(f"more than one dead letter's id begins with {text}")
    letter_id: UUID = found[0][0]
    return letter_id


def find(connection: Transaction, letter_id: UUID) -> Letter:
    """The letter of that id; raises LetterNotFound."""
    cursor = connection.cursor(row_factory=dict_row)
    row = cursor.execute(_LETTER, {"id": letter_id}).fetchone()
    if row is None:
        raise LetterNotFound(f"no dead letter has the id {letter_id}")
    key, value, headers, stack = map(row.pop, ("message_key", "message", "headers", "stack"))
    entry = Entry(**row)
    message = Message(
        topic=entry.topic,
        partition=entry.partition,
        offset=entry.offset,
        key=key,
        value=value,
        headers=headers,
    )
    return Letter(entry=entry, message=message, stack=stack)


def redrive(connection: Transaction, bus: Bus, letter: Letter) -> None:
    """Publishes the message once more, then marks the letter: after a crash between, twice.

    The guard makes the second one harmless. `connection` is in autocommit mode. Raises
    BusUnavailable, BusRefused, psycopg.Error.
    """
    entry = letter.entry
    if entry.event_id is not None:
        # Before the message comes: what it spends then counts.
        attempts.forget(connection, entry.consumer, [entry.event_id])
    bus.publish([letter.outgoing()])
    connection.execute(_MARK, {"id": entry.id})


def purge(connection: Transaction, selection: Selection) -> int:
    """Deletes some of them, and says how many; none is left when it says 0."""
    return connection.execute(_DELETE, vars(selection) | {"most": _DELETED_AT_ONCE}).rowcount
