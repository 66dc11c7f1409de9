"""Sessions in Postgres, every time by the database's clock.

The durations stand in the statements as literals ({idle} and the like): they are the same for the
life of a store, and a parameter costs both sides at each request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from app.db import AnswerLost, Connection, Database, DatabaseUnavailable, Statement, Value

# Read without a lock: whoever saves finds out what has become of the row.
_LOAD = """
SELECT id, user_id, data, version,
       expires_at < LEAST(now() + {idle}, absolute_at) - {touch_every}
FROM web_session
WHERE sid_hash = %(sid_hash)b AND expires_at > now() AND absolute_at > now()
"""

# The hash is of a token made a moment ago: a conflict is with our own first attempt.
_INSERT = """
INSERT INTO web_session (sid_hash, user_id, data, expires_at, absolute_at)
VALUES (%(sid_hash)b, %(user_id)s, %(data)b, now() + LEAST({idle}, {absolute}),
        now() + {absolute})
ON CONFLICT (sid_hash) DO NOTHING
"""

# By hash and version: after a logout, a rotation or another's save no row matches. The end is moved
# as seldom as a read moves it, because a write that changes no indexed column can be HOT.
_UPDATE = """
UPDATE web_session
SET data = %(data)b, version = version + 1,
    expires_at = CASE WHEN expires_at < LEAST(now() + {idle}, absolute_at) - {touch_every}
                      THEN LEAST(now() + {idle}, absolute_at)
                      ELSE LEAST(expires_at, absolute_at) END
WHERE sid_hash = %(sid_hash)b AND version = %(version)s
  AND expires_at > now() AND absolute_at > now()
"""

# One statement, so that there is no moment in which both tokens are valid, or neither. A logout
# that came first has deleted the row; one that comes later finds it by id, under its new hash.
_ROTATE = """
UPDATE web_session
SET sid_hash = %(new_hash)b, user_id = %(user_id)s, data = %(data)b, version = version + 1,
    expires_at = now() + LEAST({idle}, {absolute}), absolute_at = now() + {absolute}
WHERE sid_hash = %(sid_hash)b AND version = %(version)s
  AND expires_at > now() AND absolute_at > now()
"""

# Locked until the merged data is in its place: of any number of writers each merges with the last.
# The new hash is nobody's but ours: a row that has it was rotated by our own first attempt.
_LOCK = Statement("""
SELECT sid_hash, data, version
FROM web_session
WHERE sid_hash IN (%(sid_hash)b, %(new_hash)b) AND expires_at > now() AND absolute_at > now()
FOR UPDATE
""")

# Not worth a wait for the disk: a crash of the server loses some minutes of a session's life, and
# no data. The setting ends with the transaction, hence with this statement.
_TOUCH = """
UPDATE web_session
SET expires_at = LEAST(now() + {idle}, absolute_at)
WHERE sid_hash = %(sid_hash)b AND expires_at > now() AND absolute_at > now()
  AND set_config('synchronous_commit', 'off', true) = 'off'
"""

# By id, not by hash: a rotation that is under way must not save the session from its logout. A save
# that holds the row is waited for; one that waits for us finds no row.
_DELETE = Statement("DELETE FROM web_session WHERE id = %(id)s")

_REVOKE = Statement("DELETE FROM web_session WHERE user_id = %(user_id)s")

_PRUNER = "SELECT pg_try_advisory_xact_lock(hashtextextended('smart-factory.web_session.prune', 0))"

# Over by the index on expires_at, which is never later than absolute_at. Whatever somebody holds is
# not waited for: the next run takes it.
_PRUNE = """
WITH over AS (
    SELECT id FROM web_session WHERE expires_at <= now()
    ORDER BY expires_at LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM web_session USING over WHERE web_session.id = over.id
"""


class Row(NamedTuple):
    """A live session as it was read."""

    id: int
    user_id: str | None
    data: bytes
    version: int
    touch_due: bool  # the last use recorded is old enough to record this one


@dataclass(frozen=True, kw_only=True)
class Login:
    """What a rotation sets beside the data."""

    new_hash: bytes
    user_id: str | None


@dataclass(frozen=True)
class _Statements:
    """The statements that know how long a session lives."""

    load: Statement
    insert: Statement
    update: Statement
    rotate: Statement
    touch: Statement

    @classmethod
    def of(cls, *, idle: timedelta, absolute: timedelta) -> _Statements:
        literals = {
            name: f"interval '{each / timedelta(microseconds=1):.0f} microseconds'"
            for name, each in {
                "idle": idle,
                "absolute": absolute,
                "touch_every": min(timedelta(minutes=5), idle / 10),
            }.items()
        }
        templates = _LOAD, _INSERT, _UPDATE, _ROTATE, _TOUCH
        return cls(*(Statement(template.format(**literals)) for template in templates))


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
        self._sql = _Statements.of(idle=idle, absolute=absolute)

    def load(self, sid_hash: bytes) -> Row | None:
        """The session, unless it is unknown or over."""
        statement, values = self._sql.load, {"sid_hash": sid_hash}
        row = self._database.run(lambda c: c.ask_often(statement, values).fetchone(), retry=True)
        return None if row is None else Row(*row)

    def insert(self, sid_hash: bytes, *, data: bytes, user_id: str | None) -> None:
        """A new session."""
        self._count(self._sql.insert, {"sid_hash": sid_hash, "data": data, "user_id": user_id})

    def save(
        self,
        sid_hash: bytes,
        row: Row,
        *,
        data: bytes,
        merge: Callable[[bytes], bytes],
        login: Login | None = None,
    ) -> bool:
        """Writes once what was made of `row`; with `login`, also the new hash and the user.

        When another request has saved meanwhile, `merge` makes from its data what is to be written.
        False when the session is over: nothing was written, and with `login` no token is valid.
        """
        statement = self._sql.update if login is None else self._sql.rotate
        save = _Save(statement, sid_hash, row, data, merge, login)
        try:
            if self._database.run(lambda c: save.write(c, row.version, data)):
                return True
            unanswered = False
        except AnswerLost:
            unanswered = True
        return self._database.run(lambda c: save.settle(c, unanswered))

    def touch(self, sid_hash: bytes) -> None:
        """Records that the session is in use; lost when the server crashes just now."""
        self._count(self._sql.touch, {"sid_hash": sid_hash})

    def delete(self, session_id: int) -> None:
        """Ends the session, whatever its token is by now."""
        self._count(_DELETE, {"id": session_id})

    def revoke(self, user_id: str) -> int:
        """Ends all sessions of a user; how many there were."""
        return self._count(_REVOKE, {"user_id": user_id})

    def prune(self, *, batch: int = 1000) -> int | None:
        """Deletes up to `batch` sessions that are over; how many, None while another prunes."""

        def work(connection: Connection) -> int | None:
            with connection.transaction():
                turn = connection.execute(_PRUNER).fetchone()
                if turn is None or not turn[0]:
                    return None
                return connection.execute(_PRUNE, {"batch": batch}).rowcount

        return self._database.run(work, retry=True)

    def close(self) -> None:
        """Closes this process's connections; the next statement opens others."""
        self._database.close()

    def _count(self, statement: Statement, values: Mapping[str, Value]) -> int:
        """How many rows it changed; done twice it has the effect of once."""
        return self._database.run(lambda c: c.ask_often(statement, values).rowcount, retry=True)


class _Save:
    """One save: first in the hope that nobody else saved, then under a lock."""

    def __init__(
        self,
        statement: Statement,
        sid_hash: bytes,
        row: Row,
        data: bytes,
        merge: Callable[[bytes], bytes],
        login: Login | None,
    ):
        self._statement = statement
        self._row = row
        self._data = data
        self._merge = merge
        self._login = login
        self._values: dict[str, Value] = {
            "sid_hash": sid_hash,
            "new_hash": sid_hash if login is None else login.new_hash,
            "user_id": None if login is None else login.user_id,
        }

    def write(self, connection: Connection, version: int, data: bytes) -> bool:
        """Whether the row was still there in that version."""
        values = {**self._values, "version": version, "data": data}
        return connection.ask_often(self._statement, values).rowcount == 1

    def settle(self, connection: Connection, unanswered: bool) -> bool:
        """The save of a row that another has changed, or perhaps our own lost statement."""
        with connection.transaction():
            found = connection.ask_often(_LOCK, self._values).fetchone()
            if found is None:
                return False
            sid_hash, theirs, version = found
            if version == self._row.version:
                return self.write(connection, version, self._data)
            if unanswered:
                self._recognise(sid_hash, theirs, version)
                return True
            return self.write(connection, version, self._merge(theirs))

    def _recognise(self, sid_hash: bytes, theirs: bytes, version: int) -> None:
        """Raises DatabaseUnavailable unless the row is as our unanswered statement leaves it.

        Merging once more could add twice what is in it already; the client is told to try again.
        """
        if self._login is not None and sid_hash == self._login.new_hash:
            return
        if (theirs, version) != (self._data, self._row.version + 1):
            raise DatabaseUnavailable("the connection broke, and others have saved since")
