"""What requests ask again and again: prepared once a connection, and asked without a cursor.

A cursor works out at each call what to prepare and how to convert the parameters. For a statement
as short as the read of a session that is most of the work.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import BaseConnection, abc, generators
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

_PARAMETER = re.compile(r"%\((\w+)\)[bs]")
_BIGINT_BYTES = 8
_ANSWERED = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

Value = bytes | str | int | None


class Statement:
    """SQL with named parameters as psycopg has them: `%(name)b`, `%(name)s`.

    The parameters are bytea, text and bigint: bytes, str and int travel as these, in binary.
    """

    def __init__(self, text: str):
        self.text = text
        self.names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
        numbers = {name: f"${number}" for number, name in enumerate(self.names, start=1)}
        self.numbered = _PARAMETER.sub(lambda found: numbers[found[1]], text).encode()
        self.formats = (Format.BINARY,) * len(self.names)

    def parameters(self, values: Mapping[str, Value]) -> list[bytes | None]:
        """The values as Postgres reads them."""
        return [_encoded(values[name]) for name in self.names]


class Answer:
    """What Postgres has answered; as much of a cursor as is needed."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, result: PGresult, transformer: abc.Transformer):
        self._rows: Sequence[tuple[Any, ...]] = ()
        if result.ntuples:
            transformer.set_pgresult(result)
            self._rows = transformer.load_rows(0, result.ntuples, tuple)
        self.rowcount = result.command_tuples or 0

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row."""
        return self._rows[0] if self._rows else None


class Prepared:
    """The statements of one connection, prepared when they are first asked.

    Not within a transaction: psycopg may have the server forget all prepared statements with any
    cursor's next one (after a rollback it does), and one that is missing is an error.
    """

    def __init__(self, connection: BaseConnection[Any]):
        self._pgconn = connection.pgconn
        self._transformer: abc.Transformer = Transformer(connection)
        self._names: dict[bytes, bytes] = {}
        self._numbers = itertools.count()

    def ask(self, statement: Statement, values: Mapping[str, Value]) -> PQGen[Answer]:
        """The exchange with the server, for `Connection.wait`; raises psycopg.Error."""
        parameters = statement.parameters(values)
        try:
            return (yield from self._ask(statement, parameters))
        except InvalidSqlStatementName:  # forgotten, so not carried out
            self._names.clear()
        return (yield from self._ask(statement, parameters))

    def _ask(self, statement: Statement, parameters: list[bytes | None]) -> PQGen[Answer]:
        pgconn = self._pgconn
        name = self._names.get(statement.numbered)
        if name is None:
            name = b"statement_%d" % next(self._numbers)
            pgconn.send_prepare(name, statement.numbered)
            _checked((yield from generators.execute(pgconn)))
            self._names[statement.numbered] = name
        pgconn.send_query_prepared(name, parameters, statement.formats, Format.BINARY)
        return Answer(_checked((yield from generators.execute(pgconn))), self._transformer)


def _encoded(value: Value) -> bytes | None:
    if isinstance(value, int):
        return value.to_bytes(_BIGINT_BYTES, "big", signed=True)
    return value.encode() if isinstance(value, str) else value


def _checked(results: Sequence[PGresult]) -> PGresult:
    result = results[-1]
    if result.status not in _ANSWERED:
        raise error_from_result(result)
    return result
