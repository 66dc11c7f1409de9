"""Credentials in Postgres: each content is issued once, whoever asks whichever worker."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import rfc8785

from app.db import Connection, Database
from app.identity import worker_id

# Far below the interpreter's own limit, which depends on the version and on who calls.
_DEEPEST = 500  # levels
# The first integer that a double cannot tell from its neighbour.
_NUMBER_END = 2**53

# The unique constraint decides: of several at once, one inserts, and the others wait for its commit
# and then insert nothing. Their SELECT is a statement of its own and so sees what was committed; a
# check before the insert would leave a gap between the two. No target is named, so that an attempt
# whose answer was lost is found by its id, too: the id is made by us, and a retry recognises it.
_INSERT = """
INSERT INTO credential (id, content_hash, content, issued_by)
VALUES (%(id)s, %(content_hash)s, %(content)s, %(issued_by)s)
ON CONFLICT DO NOTHING
RETURNING id, issued_by, issued_at
"""

_BY_HASH = "SELECT id, issued_by, issued_at FROM credential WHERE content_hash = %(content_hash)s"

_BY_ID = "SELECT id, content, issued_by, issued_at FROM credential WHERE id = %(id)s"


class CanonicalFormError(ValueError):
    """The content has no canonical form; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """The facts of a content's first issue."""

    id: UUID
    issued_by: str  # the worker
    issued_at: datetime
    first: bool  # this one is it


@dataclass(frozen=True)
class Credential:
    id: UUID
    content: str  # canonical JSON
    issued_by: str
    issued_at: datetime


def canonical_form(content: dict[str, Any]) -> bytes:
    """The one spelling of parsed JSON (RFC 8785); raises CanonicalFormError."""
    _check(content)
    try:
        return rfc8785.dumps(content)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise CanonicalFormError("has a text with half a character (a lone surrogate)") from None


def _check(content: dict[str, Any]) -> None:
    """Raises CanonicalFormError for what the library would take, or fail at."""
    level: list[Any] = [content]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, int | float) and not abs(value) < _NUMBER_END:
                # However it is spelled: 1e30 is the same number as thirty-one digits.
                raise CanonicalFormError("has a number beyond ±(2^53 - 1)")
        if not below:
            return
        level = below
    raise CanonicalFormError(f"is nested deeper than {_DEEPEST} levels")


class Credentials:
    """Every method raises DatabaseUnavailable."""

    def __init__(self, *, database: Database):
        self._database = database

    def issue(self, canonical: bytes) -> Issue:
        """The first issue of this content, which is this one unless there was one before."""
        values = {
            "id": uuid.uuid4(),
            "content_hash": hashlib.sha256(canonical).digest(),
            "content": canonical.decode(),
            "issued_by": worker_id(),
        }

        def work(connection: Connection) -> Issue:
            row = connection.execute(_INSERT, values).fetchone()
            row = row or connection.execute(_BY_HASH, values).fetchone()
            assert row is not None  # noqa: S101 - nothing deletes credentials
            first = row[0] == values["id"]
            return Issue(id=row[0], issued_by=row[1], issued_at=row[2], first=first)

        return self._database.run(work, retry=True)

    def by_id(self, credential_id: UUID) -> Credential | None:
        values = {"id": credential_id}
        row = self._database.run(lambda c: c.execute(_BY_ID, values).fetchone(), retry=True)
        return None if row is None else Credential(*row)
