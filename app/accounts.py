"""Accounts in Postgres: one statement each; every method raises DatabaseUnavailable."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from uuid import UUID

from psycopg.rows import class_row

from app.db import Connection, Database

# The unique constraint decides between two at once. The id is made by us, so that a retry after a
# lost answer recognises its own first attempt instead of calling the address taken.
_CREATE = """
INSERT INTO account (id, email, password_hash)
VALUES (%(id)s, %(email)s, %(password_hash)s)
ON CONFLICT (email) DO UPDATE SET email = excluded.email WHERE account.id = excluded.id
RETURNING id, email, password_hash
"""

_BY_EMAIL = "SELECT id, email, password_hash FROM account WHERE email = %(email)s"

_BY_ID = "SELECT id, email, password_hash FROM account WHERE id = %(id)s"

# Only over the hash that was verified: a password changed meanwhile stays changed.
_REHASH = "UPDATE account SET password_hash = %(new)s WHERE id = %(id)s AND password_hash = %(old)s"


@dataclass(frozen=True)
class Account:
    id: UUID
    email: str
    password_hash: str = field(repr=False)


class Accounts:
    def __init__(self, *, database: Database):
        self._database = database

    def create(self, *, email: str, password_hash: str) -> Account | None:
        """The new account; None when the address is taken."""
        return self._one(
            _CREATE, {"id": uuid.uuid4(), "email": email, "password_hash": password_hash}
        )

    def by_email(self, email: str) -> Account | None:
        return self._one(_BY_EMAIL, {"email": email})

    def by_id(self, account_id: UUID) -> Account | None:
        return self._one(_BY_ID, {"id": account_id})

    def rehash(self, account: Account, *, password_hash: str) -> None:
        values = {"id": account.id, "old": account.password_hash, "new": password_hash}
        self._database.run(lambda c: c.execute(_REHASH, values), retry=True)

    def _one(self, statement: str, values: dict[str, object]) -> Account | None:
        def work(connection: Connection) -> Account | None:
            with connection.cursor(row_factory=class_row(Account)) as cursor:
                return cursor.execute(statement, values).fetchone()

        return self._database.run(work, retry=True)
