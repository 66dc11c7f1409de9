"""The application over a database of the test's own, and what tests look at beside its answers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.config import Config
from app.db import Database
from tests.cluster import ROOT

EMAIL = "ada@example.com"
PASSWORD = "correct horse"
SECRET = "0123456789abcdef"

AppFactory = Callable[..., Flask]
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def make_app() -> Iterator[AppFactory]:
    """Creates applications, `make_app(url, env="production")`, and closes their pools."""
    made: list[Flask] = []

    def make(url: str | None, **fields: Any) -> Flask:
        fields.setdefault("env", "test")
        app = create_app(Config(secret_key=SECRET, database_url=url, **fields))
        made.append(app)
        return app

    yield make
    for app in made:
        database_of(app).close()


def database_of(app: Flask) -> Database:
    database = app.extensions["database"]
    assert isinstance(database, Database)
    return database


@pytest.fixture
def app(make_app: AppFactory, database_url: str) -> Flask:
    return make_app(database_url)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def sql(database_url: str) -> Iterator[Sql]:
    """Runs one statement in the test's database, beside the application."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def run(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

        yield run


@contextmanager
def records_of(name: str) -> Iterator[list[logging.LogRecord]]:
    """The records from INFO up that loggers under `name` make meanwhile, whatever the handlers."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, handler = logging.getLogger(name), Keep()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def register(client: FlaskClient, email: str = EMAIL) -> None:
    answer = client.post("/api/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text


def log_in(client: FlaskClient, email: str = EMAIL) -> str:
    """Logs in and returns the token in the cookie."""
    answer = client.post("/api/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return cookie(client) or ""


def run_forking(code: str, database_url: str) -> None:
    """Runs a program that forks and prints "ok"; its argument is the database's URL."""
    done = subprocess.run(
        # CPython warns of a fork with threads: that is the case under test
        [sys.executable, "-W", "ignore::DeprecationWarning", "-", database_url],
        input=textwrap.dedent(code),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def cookie(client: FlaskClient, name: str = "session") -> str | None:
    found = client.get_cookie(name)
    return None if found is None else found.value
