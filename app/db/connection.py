"""A connection on which no wait is endless, and what may be said when there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from app.db.statement import Answer, Prepared, Statement, Value

STATEMENT_SECONDS = 4  # the server ends a statement; below the client's own deadline, see `wait`
_IDLE_SECONDS = 10  # a process that is frozen within a transaction must not keep its locks
_WAIT_SECONDS = 5.0
_CONNECT_SECONDS = 2  # the least that libpq knows

# A peer that vanished without a word is noticed within about 10 s even by an idle connection.
_LIBPQ = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "application_name": "smart-factory",
}


class Connection(psycopg.Connection[TupleRow]):
    """An autocommit connection that is closed when an answer is overdue.

    `statement_timeout` ends a slow statement and keeps the connection; it is the server that
    enforces it, and a server that is frozen or cut off enforces nothing. For that there is `wait`.
    """

    deadline: float | None = None  # monotonic seconds: until then every answer must be here
    _cursor: psycopg.Cursor[TupleRow] | None = None
    _prepared_statements: Prepared | None = None

    @classmethod
    def open(cls, url: str) -> Connection:
        """A new connection within 2 s, unless the URL sets another time; raises psycopg.Error."""
        return cls.connect(url, autocommit=True, **libpq_parameters(url))

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Within, every answer must be here by `deadline` (monotonic seconds)."""
        self.deadline = deadline
        try:
            yield
        finally:
            self.deadline = None

    def ask(self, query: str, parameters: Mapping[str, object]) -> psycopg.Cursor[TupleRow]:
        """As `execute`, for what each request does: on one cursor, which the next call reuses."""
        cursor = self._cursor
        if cursor is None:
            # Binary: bytes come and go as they are, not in hexadecimal digits.
            cursor = self._cursor = self.cursor(binary=True)
        return cursor.execute(query, parameters)

    def ask_often(
        self, statement: Statement, values: Mapping[str, Value]
    ) -> Answer | psycopg.Cursor[TupleRow]:
        """As `ask`, at half the cost outside of a transaction."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            return self.ask(statement.text, values)
        prepared = self._prepared_statements
        if prepared is None:
            prepared = self._prepared_statements = Prepared(self)
        answer: Answer = self.wait(prepared.ask(statement, values))
        return answer

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, with a deadline: every exchange with the server passes through here."""
        now = monotonic()
        deadline = now + _WAIT_SECONDS if self.deadline is None else self.deadline
        left = max(0.0, deadline - now)
        try:
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))
        except psycopg.OperationalError:
            if monotonic() >= deadline:
                # The answer may still come, to a question that nobody asked: not to be used again.
                self.close()
            raise


def libpq_parameters(url: str) -> dict[str, Any]:
    """Our settings for the connection, less those that the URL makes itself."""
    given = conninfo_to_dict(url)
    return {name: value for name, value in _LIBPQ.items() if name not in given}


def limit_statements(connection: Connection) -> None:
    connection.execute(
        f"SET statement_timeout = '{STATEMENT_SECONDS}s';"
        f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'"
    )


def reason(error: BaseException) -> str:
    """Why Postgres did not answer, in one line fit for an anonymous reader.

    libpq's text names host and port; what follows the last "failed:" is the reason itself.
    """
    text = str(error)
    found = re.findall(r"failed: (?!connection to )([^\n]+)", text)
    line = f"cannot connect: {found[0]}" if found else text.strip().partition("\n")[0]
    return " ".join(line.split()) or type(error).__name__
