"""Statements that are prepared once a connection, against real Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from app.db import Connection, Statement, Value

ECHO = Statement(
    "SELECT %(data)b::bytea, %(name)s::text, %(number)s::bigint, %(name)s::text IS NULL"
)
VALUES: dict[str, Value] = {"name": "Zoë", "data": b"\x00\xff", "number": -(1 << 40)}


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with Connection.open(database_url) as connection:
        yield connection


def prepared(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM pg_prepared_statements").fetchall()
    return {name for (name,) in rows if name.startswith("statement_")}


def test_values_come_back_as_they_went(connection: Connection) -> None:
    expected = (b"\x00\xff", "Zoë", -(1 << 40), False)
    assert connection.ask_often(ECHO, VALUES).fetchone() == expected
    with connection.transaction():
        assert connection.ask_often(ECHO, VALUES).fetchone() == expected
    nothing: dict[str, Value] = {"name": None, "data": None, "number": None}
    assert connection.ask_often(ECHO, nothing).fetchone() == (None, None, None, True)


def test_a_statement_is_prepared_once(connection: Connection) -> None:
    for _ in range(3):
        connection.ask_often(ECHO, VALUES)
    assert len(prepared(connection)) == 1


def test_it_says_how_many_rows_it_changed(connection: Connection) -> None:
    connection.execute("CREATE TEMPORARY TABLE number (n bigint)")
    insert = Statement("INSERT INTO number VALUES (%(n)s), (%(n)s)")
    assert connection.ask_often(insert, {"n": 7}).rowcount == 2
    found = connection.ask_often(Statement("SELECT n FROM number WHERE n > %(n)s"), {"n": 8})
    assert (found.fetchone(), found.rowcount) == (None, 0)


def test_what_the_server_has_forgotten_is_prepared_again(connection: Connection) -> None:
    other = Statement("SELECT %(n)s::bigint")
    connection.ask_often(ECHO, VALUES)
    connection.ask_often(other, {"n": 1})
    (name, *_) = prepared(connection)
    connection.execute(f"DEALLOCATE {name}")
    for _ in range(2):
        assert connection.ask_often(other, {"n": 2}).fetchone() == (2,)
        assert connection.ask_often(ECHO, VALUES).fetchone() is not None


def test_a_rollback_makes_no_statement_fail(connection: Connection) -> None:
    """After it psycopg has the server forget what was prepared, with a cursor's next statement."""
    connection.prepare_threshold = 0
    connection.ask_often(ECHO, VALUES)
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT 1")
    for _ in range(2):
        with connection.transaction():
            assert connection.ask_often(ECHO, VALUES).fetchone() is not None
        assert connection.ask_often(ECHO, VALUES).fetchone() is not None


def test_an_error_of_the_server_is_raised_and_the_connection_stays(connection: Connection) -> None:
    divided = Statement("SELECT 1 / %(n)s::bigint")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.ask_often(divided, {"n": 0})
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.ask_often(Statement("SELECT * FROM nowhere"), {})
    assert connection.ask_often(divided, {"n": 1}).fetchone() == (1,)


def test_a_connection_that_is_gone_is_an_operational_error(
    connection: Connection, database_url: str
) -> None:
    connection.ask_often(ECHO, VALUES)
    with Connection.open(database_url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        connection.ask_often(ECHO, VALUES)
    assert connection.closed
