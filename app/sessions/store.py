"""Sessions in Postgres: one statement each, every time by the database's clock.

Each statement may be carried out twice with the effect of once (Database.run retries when a
connection broke and nobody knows whether the server did its work).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.db import Database

# Read without a lock: whoever saves finds out whether the row is still there.
_LOAD = """
SELECT id, user_id, data,
       expires_at < LEAST(now() + %(idle)s, absolute_at) - %(touch_every)s
FROM web_session
WHERE sid_hash = %(sid_hash)s AND expires_at > now() AND absolute_at > now()
"""

# The hash is of a token made a moment ago: a conflict is with our own first attempt.
_INSERT = """
INSERT INTO web_session (sid_hash, user_id, data, expires_at, absolute_at)
VALUES (%(sid_hash)s, %(user_id)s, %(data)s, now() + LEAST(%(idle)s, %(absolute)s),
        now() + %(absolute)s)
ON CONFLICT (sid_hash) DO NOTHING
"""

# By hash: after a logout or a rotation no row matches, and the late write is lost, as it must be.
# Of two writes at once the later wins, and the version counts both.
_UPDATE = """
UPDATE web_session
SET data = %(data)s, version = version + 1,
    expires_at = LEAST(now() + %(idle)s, absolute_at)
WHERE sid_hash = %(sid_hash)s AND expires_at > now() AND absolute_at > now()
"""

_TOUCH = """
UPDATE web_session
SET expires_at = LEAST(now() + %(idle)s, absolute_at)
WHERE sid_hash = %(sid_hash)s AND expires_at > now() AND absolute_at > now()
"""

# One statement, so that there is no moment in which both tokens are valid, or neither. A logout
# that came first has deleted the row; one that comes later finds it by id, under its new hash.
# The new hash is accepted too: it is then our own first attempt that set it.
_ROTATE = """
UPDATE web_session
SET sid_hash = %(new_hash)s, user_id = %(user_id)s, data = %(data)s, version = version + 1,
    expires_at = now() + LEAST(%(idle)s, %(absolute)s), absolute_at = now() + %(absolute)s
WHERE sid_hash IN (%(sid_hash)s, %(new_hash)s) AND expires_at > now() AND absolute_at > now()
"""

# By id, not by hash: a rotation that is under way must not save the session from its logout.
_DELETE = "DELETE FROM web_session WHERE id = %(id)s"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A live session as it was read."""

    id: int
    user_id: str | None
    data: bytes
    touch_due: bool  # the last use recorded is old enough to record this one


class SessionStore:
    """The statements; every method raises DatabaseUnavailable.

    A session ends `idle` after its last recorded use, and `absolute` after its last login (or
    creation) whatever its use.
    """

    def __init__(
        self,
        *,
        database: Database,
        idle: timedelta = timedelta(minutes=30),
        absolute: timedelta = timedelta(hours=12),
    ):
        self._database = database
        self._times = {
            "idle": idle,
            "absolute": absolute,
            "touch_every": min(timedelta(minutes=5), idle / 10),
        }

    def load(self, sid_hash: bytes) -> Row | None:
        """The session, unless it is unknown or over."""
        parameters = {"sid_hash": sid_hash, **self._times}
        row = self._database.run(lambda c: c.execute(_LOAD, parameters).fetchone(), retry=True)
        if row is None:
            return None
        return Row(id=row[0], user_id=row[1], data=row[2], touch_due=row[3])

    def insert(self, sid_hash: bytes, *, data: bytes, user_id: str | None) -> None:
        self._count(_INSERT, {"sid_hash": sid_hash, "data": data, "user_id": user_id})

    def update(self, sid_hash: bytes, *, data: bytes) -> bool:
        """False when the session is over, and the write lost."""
        return self._count(_UPDATE, {"sid_hash": sid_hash, "data": data}) == 1

    def touch(self, sid_hash: bytes) -> None:
        self._count(_TOUCH, {"sid_hash": sid_hash})

    def rotate(self, sid_hash: bytes, new_hash: bytes, *, data: bytes, user_id: str | None) -> bool:
        """False when the session is over, and no token valid."""
        parameters = {"sid_hash": sid_hash, "new_hash": new_hash, "data": data, "user_id": user_id}
        return self._count(_ROTATE, parameters) == 1

    def delete(self, session_id: int) -> None:
        self._count(_DELETE, {"id": session_id})

    def _count(self, statement: str, values: Mapping[str, object]) -> int:
        """How many rows it changed."""
        parameters = {**self._times, **values}
        return self._database.run(lambda c: c.execute(statement, parameters).rowcount, retry=True)
