"""The real parts that tests of every room start."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from deploy.ops.embedded_postgres import EmbeddedPostgres

pytest_plugins = ["tests.kafka.fixtures", "tests.redis.fixtures"]

# What a crash would lose is of no interest to a test.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_numbers = itertools.count(1)


def pytest_configure() -> None:
    # A shell without job control has what it starts with "&" ignore SIGINT, and ignored it stays in
    # all that the tests start: no Ctrl-C of theirs would be heard.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Postgres shared by this test process's tests, which must not stop it."""
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", options=_FAST)
    yield postgres.start()
    postgres.stop()


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield conninfo.make_conninfo(postgres_url, dbname=name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of the test's own, started by the test, which may stop and start it at will."""
    postgres = EmbeddedPostgres(tmp_path / "postgres", options=_FAST)
    yield postgres
    postgres.stop()
