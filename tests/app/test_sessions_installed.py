"""`sessions.install` on a Flask application that is not ours, and what it costs the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask, flash, get_flashed_messages, session
from flask.testing import FlaskClient

from app import sessions
from app.sessions import token
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import Sql, cookie
from tests.wait import wait_until

Make = Callable[[str], Flask]


@pytest.fixture
def make() -> Iterator[Make]:
    """Creates applications that are not ours, and closes their pools."""
    installed: list[Any] = []

    def create(url: str) -> Flask:
        app = Flask("shop")
        installed.append(sessions.install(app, url))

        @app.get("/unused")
        def unused() -> dict[str, Any]:
            return {}

        @app.get("/read")
        def read() -> dict[str, Any]:
            return dict(session)

        @app.post("/count")
        def count() -> dict[str, Any]:
            session["n"] = session.get("n", 0) + 1
            return {"n": session["n"]}

        @app.post("/flash")
        def say() -> dict[str, Any]:
            flash("saved")
            return {}

        @app.get("/flashed")
        def said() -> dict[str, Any]:
            return {"messages": get_flashed_messages()}

        return app

    yield create
    for interface in installed:
        interface.close()


def test_it_creates_its_table_and_nothing_else(make: Make, database_url: str, sql: Sql) -> None:
    client = make(database_url).test_client()
    assert client.post("/count").get_json() == {"n": 1}
    assert client.post("/count").get_json() == {"n": 2}
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    assert [row[0] for row in sql(tables)] == ["schema_migration", "web_session"]


def test_it_takes_a_table_that_somebody_else_made(make: Make, database_url: str, sql: Sql) -> None:
    made = Path("app/schema/0001_web_session.sql").read_text()
    sql(made)
    client = make(database_url).test_client()
    assert client.post("/count").get_json() == {"n": 1}


def test_flasks_own_messages_pass_through_it(make: Make, database_url: str) -> None:
    client = make(database_url).test_client()
    client.post("/flash")
    assert client.get("/flashed").get_json() == {"messages": ["saved"]}
    assert client.get("/flashed").get_json() == {"messages": []}


def test_a_row_that_becomes_garbage_before_the_save_is_kept(
    make: Make, database_url: str, sql: Sql
) -> None:
    app = make(database_url)

    @app.post("/late")
    def late() -> dict[str, Any]:
        session["n"] = 7
        sql("UPDATE web_session SET data = 'garbage', version = version + 1")
        return {}

    client = app.test_client()
    client.post("/count")
    assert client.post("/late").status_code == 409
    assert sql("SELECT data FROM web_session") == [(b"garbage",)]


class Counted:
    """The statements that a server logged as the application's."""

    def __init__(self, log: Path):
        self._log = log
        self._seen = 0

    def new(self) -> list[str]:
        """The first words of those since the last call."""
        lines = self._log.read_text().splitlines()
        found = [line for line in lines[self._seen :] if line.startswith("smart-factory|LOG:")]
        self._seen = len(lines)
        # "execute _pg3_0: SELECT …" or "statement: SELECT …", whose text may go on in further lines
        words = [line.partition("|LOG:")[2].split(":", 1)[1].split() for line in found]
        return [w[0] if w else "?" for w in words]


def test_the_server_counts_no_more_statements_than_promised(make: Make, tmp_path: Path) -> None:
    options = {"log_statement": "all", "log_line_prefix": "%a|", "log_min_messages": "warning"}
    postgres = EmbeddedPostgres(tmp_path / "postgres", options=options)
    url = postgres.start()
    try:
        client = make(url).test_client()
        client.post("/count")  # connects, creates the table and the session
        counted = Counted(tmp_path / "postgres" / "server.log")
        assert len(counted.new()) >= 3

        client.get("/unused")
        assert counted.new() == []
        client.get("/read")
        assert len(counted.new()) == 1
        client.post("/count")
        assert len(counted.new()) == 2
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("UPDATE web_session SET expires_at = now() + interval '20 min'")
        client.get("/read")
        assert len(counted.new()) == 2, "the touch was due"
        client.get("/read")
        assert len(counted.new()) == 1
        for _ in range(3):
            client.application.test_client().get("/read")
        assert counted.new() == [], "who has no cookie costs nothing"
    finally:
        postgres.stop()


def fill_pool(app: Flask, client: FlaskClient, connections: int) -> None:
    """Has the pool open so many: as many requests at once load their session."""
    together = threading.Barrier(connections, timeout=10)
    store_load = sessions.SessionStore.load

    def load(self: Any, sid_hash: bytes) -> Any:
        def work(connection: Any) -> None:
            together.wait()

        self._database.run(work)
        return store_load(self, sid_hash)

    patch = pytest.MonkeyPatch()
    patch.setattr(sessions.SessionStore, "load", load)
    try:
        with ThreadPoolExecutor(connections) as threads:
            sid = cookie(client)
            calls = [threads.submit(read_as, app, sid) for _ in range(connections)]
            assert [call.result() for call in calls] == [200] * connections
    finally:
        patch.undo()


def read_as(app: Flask, sid: str | None) -> int:
    client = app.test_client()
    client.set_cookie("session", sid or "")
    return client.get("/read").status_code


@pytest.mark.parametrize("path", ["/read", "/count"])
def test_five_stale_connections_cost_no_request_an_error(
    make: Make, own_postgres: EmbeddedPostgres, path: str
) -> None:
    app = make(own_postgres.start())
    client = app.test_client()
    client.post("/count")
    fill_pool(app, client, 5)
    own_postgres.stop()
    own_postgres.start()
    answer = client.post(path) if path == "/count" else client.get(path)
    assert answer.status_code == 200
    assert client.get("/read").get_json() == {"n": 2 if path == "/count" else 1}


def test_sessions_are_back_within_two_seconds_of_postgres(
    make: Make, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    client = make(url).test_client()
    client.post("/count")
    own_postgres.stop()

    asked = 0.0  # when the last request began: what it takes itself is the machine's business

    def answers(status: int) -> Callable[[], bool]:
        def ask() -> bool:
            nonlocal asked
            asked = time.monotonic()
            return client.get("/read").status_code == status

        return ask

    wait_until(answers(503), what="503")
    refused = client.get("/read")
    assert refused.headers["Retry-After"] == "1"
    assert refused.get_json()["error"]["code"] == "database_unavailable"
    assert client.get("/unused").status_code == 200
    kept = cookie(client)

    own_postgres.start()
    with psycopg.connect(url):
        returned = time.monotonic()
    wait_until(answers(200), what="the session")
    assert asked - returned < 2
    assert cookie(client) == kept
    assert client.get("/read").get_json() == {"n": 1}


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\x91" * 70_000])
def test_a_write_to_an_unreadable_session_begins_another(
    make: Make, database_url: str, sql: Sql, data: bytes
) -> None:
    client = make(database_url).test_client()
    client.post("/count")
    planted = cookie(client)
    sql("UPDATE web_session SET data = %s", data)
    assert client.post("/count").get_json() == {"n": 1}
    assert cookie(client) != planted
    kept = sql("SELECT data FROM web_session WHERE sid_hash = %s", token.digest(planted or ""))
    assert kept == [(data,)]
