from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient

from app.db import Statement, Value
from app.db.statement import Prepared
from app.sessions import codec, token
from tests.app.conftest import AppFactory, Sql, cookie, database_of, log_in, records_of, register


@pytest.fixture
def app(make_app: AppFactory, database_url: str) -> Flask:
    app = make_app(database_url)
    add_routes(app)
    assert app.test_client().get("/health/ready").status_code == 200, "the schema is there"
    return app


def add_routes(app: Flask) -> None:
    @app.get("/read")
    def read() -> dict[str, Any]:
        return dict(session)

    @app.post("/write")
    def write() -> dict[str, Any]:
        session.update(request.get_json())
        return dict(session)

    @app.post("/nested")
    def nested() -> dict[str, Any]:
        session["items"].append(request.get_json())
        return dict(session)

    @app.post("/unstorable")
    def unstorable() -> dict[str, Any]:
        session["object"] = "x" * codec.MAX_BYTES
        return {"ok": True}

    @app.post("/meanwhile")
    def meanwhile() -> dict[str, Any]:
        """Another request deletes the row between this one's read and its save."""
        session["late"] = True
        database_of(app).run(lambda c: c.execute("DELETE FROM web_session"))
        return {"ok": True}

    @app.post("/late-login")
    def late_login() -> dict[str, Any]:
        session["user_id"] = "7"
        database_of(app).run(lambda c: c.execute("DELETE FROM web_session"))
        return {"user": "7"}


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """The SQL that the application sends meanwhile."""
    sent: list[str] = []
    execute, ask = psycopg.Cursor.execute, Prepared.ask

    def spy_on_cursor(self: psycopg.Cursor[Any], query: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(" ".join(str(query).split()))
        return execute(self, query, *args, **kwargs)

    def spy(self: Prepared, statement: Statement, values: Mapping[str, Value]) -> Any:
        sent.append(" ".join(statement.text.split()))
        return ask(self, statement, values)

    patch = pytest.MonkeyPatch()
    patch.setattr(psycopg.Cursor, "execute", spy_on_cursor)
    patch.setattr(Prepared, "ask", spy)
    try:
        yield sent
    finally:
        patch.undo()


def rows(sql: Sql) -> int:
    count: int = sql("SELECT count(*) FROM web_session")[0][0]
    return count


def test_requests_without_a_cookie_leave_nothing(app: Flask, sql: Sql) -> None:
    with statements(app) as sent:
        for path in ("/read", "/api/auth/me", "/health", "/nowhere"):
            answer = app.test_client().get(path)
            assert "Set-Cookie" not in answer.headers
        assert app.test_client().post("/api/auth/logout").status_code == 200
    assert sent == []
    assert rows(sql) == 0


@pytest.mark.parametrize("value", ["", "x", "a" * 42, "a" * 44, "'; DROP TABLE web_session; --"])
def test_a_malformed_cookie_costs_no_statement(app: Flask, value: str) -> None:
    client = app.test_client()
    client.set_cookie("session", value)
    with statements(app) as sent:
        answer = client.get("/read")
    assert answer.get_json() == {}
    assert "Set-Cookie" not in answer.headers
    assert sent == []


def test_a_session_that_is_not_used_costs_no_statement(app: Flask, client: FlaskClient) -> None:
    client.post("/write", json={"a": 1})
    with statements(app) as sent:
        answer = client.get("/health")
    assert sent == []
    assert "Cookie" not in answer.headers.get("Vary", "")


def test_a_read_is_one_statement_and_a_write_two(app: Flask, client: FlaskClient) -> None:
    with statements(app) as sent:
        client.post("/write", json={"a": 1})
    assert [s.split()[0] for s in sent] == ["INSERT"]
    with statements(app) as sent:
        answer = client.get("/read")
    assert [s.split()[0] for s in sent] == ["SELECT"]
    assert "Set-Cookie" not in answer.headers
    with statements(app) as sent:
        client.post("/write", json={"a": 2})
    assert [s.split()[0] for s in sent] == ["SELECT", "UPDATE"]
    with statements(app) as sent:
        client.post("/write", json={"a": 2})
    assert [s.split()[0] for s in sent] == ["SELECT"], "what did not change is not written"


def test_data_is_kept_and_versions_count(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1, "items": []})
    client.post("/nested", json={"deep": True})
    assert client.get("/read").get_json() == {"a": 1, "items": [{"deep": True}]}
    assert sql("SELECT version FROM web_session") == [(2,)]


def test_the_table_holds_no_token(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1})
    sid = cookie(client) or ""
    assert sql("SELECT sid_hash FROM web_session") == [(token.digest(sid),)]
    stored = sql("SELECT web_session::text FROM web_session")[0][0]
    assert sid not in stored
    assert sid.encode().hex() not in stored


def test_the_cookie_in_development(client: FlaskClient) -> None:
    header = client.post("/write", json={"a": 1}).headers["Set-Cookie"]
    name, _, rest = header.partition("=")
    assert name == "session"
    assert rest.split("; ")[1:] == ["HttpOnly", "Path=/", "SameSite=Lax"]


def test_the_cookie_in_production(make_app: AppFactory, database_url: str, app: Flask) -> None:
    production = make_app(database_url, env="production")
    add_routes(production)
    client = production.test_client()
    header = client.post("/write", json={"a": 1}, base_url="https://localhost").headers[
        "Set-Cookie"
    ]
    assert header.startswith("__Host-session=")
    assert header.split("; ")[1:] == ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"]
    gone = client.post("/api/auth/logout", base_url="https://localhost").headers["Set-Cookie"]
    assert gone.startswith("__Host-session=; ")
    assert "Max-Age=0" in gone
    assert "Secure" in gone


def test_a_login_makes_the_old_token_worthless(app: Flask, client: FlaskClient, sql: Sql) -> None:
    register(client)
    client.post("/write", json={"cart": ["book"]})
    planted = cookie(client) or ""
    fresh = log_in(client)
    assert fresh != planted
    assert client.get("/read").get_json()["cart"] == ["book"]
    assert rows(sql) == 1

    thief = app.test_client()
    thief.set_cookie("session", planted)
    assert thief.get("/read").get_json() == {}
    assert thief.get("/api/auth/me").status_code == 401


def test_a_planted_token_nobody_issued_is_not_taken_up(app: Flask, client: FlaskClient) -> None:
    register(client)
    planted = token.new()
    client.set_cookie("session", planted)
    assert log_in(client) != planted
    thief = app.test_client()
    thief.set_cookie("session", planted)
    assert thief.get("/api/auth/me").status_code == 401


def test_a_second_login_of_the_same_user_changes_the_token(client: FlaskClient, sql: Sql) -> None:
    register(client)
    assert log_in(client) != log_in(client)
    assert rows(sql) == 1


def test_whoever_sets_user_id_gets_a_new_token(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1})
    anonymous = cookie(client)
    client.post("/write", json={"user_id": "7"})
    assert cookie(client) != anonymous
    assert sql("SELECT user_id FROM web_session") == [("7",)]


def test_logout_deletes_the_row_and_the_cookie(client: FlaskClient, sql: Sql) -> None:
    register(client)
    log_in(client)
    assert rows(sql) == 1
    answer = client.post("/api/auth/logout")
    assert rows(sql) == 0
    assert answer.headers["Set-Cookie"].startswith("session=; ")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert cookie(client) is None


def test_logout_with_a_dead_cookie_removes_it(client: FlaskClient) -> None:
    client.set_cookie("session", token.new())
    assert client.post("/api/auth/logout").status_code == 200
    assert cookie(client) is None


def test_a_write_that_ends_after_the_logout_is_lost(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1})
    answer = client.post("/meanwhile")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert rows(sql) == 0


def test_a_login_whose_session_was_ended_meanwhile_is_not_called_one(
    client: FlaskClient, sql: Sql
) -> None:
    client.post("/write", json={"a": 1})
    answer = client.post("/late-login")
    assert answer.status_code == 409
    assert answer.get_json()["error"]["code"] == "session_ended"
    assert answer.get_json()["error"]["request_id"] == answer.headers["X-Request-ID"]
    assert "Set-Cookie" not in answer.headers
    assert rows(sql) == 0


@pytest.mark.parametrize(
    "age",
    [
        "UPDATE web_session SET expires_at = now() - interval '1 second'",
        "UPDATE web_session SET absolute_at = now() - interval '1 second'",
    ],
)
def test_a_session_ends_with_its_time(client: FlaskClient, sql: Sql, age: str) -> None:
    register(client)
    log_in(client)
    sql(age)
    assert client.get("/api/auth/me").status_code == 401
    answer = client.post("/write", json={"a": 1})
    assert answer.status_code == 200
    assert client.get("/read").get_json() == {"a": 1}, "a new session, nothing of the old"
    assert rows(sql) == 2


def test_the_times_are_30_minutes_and_12_hours(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1})
    times = "SELECT expires_at - created_at, absolute_at - created_at FROM web_session"
    assert [str(t) for t in sql(times)[0]] == ["0:30:00", "12:00:00"]


def test_a_read_moves_the_end_at_most_every_three_minutes(
    app: Flask, client: FlaskClient, sql: Sql
) -> None:
    client.post("/write", json={"a": 1})
    left = "SELECT extract(epoch FROM expires_at - now())::int FROM web_session"
    for age, touched in ((170, False), (190, True)):
        sql("UPDATE web_session SET expires_at = now() + '30 min' - %s * interval '1 s'", age)
        with statements(app) as sent:
            client.get("/read")
        assert len(sent) == (2 if touched else 1)
        assert (sql(left)[0][0] > 1795) is touched
    assert sql("SELECT version FROM web_session") == [(1,)], "a touch is not a write"


def test_no_use_moves_the_absolute_end(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1})
    sql("UPDATE web_session SET absolute_at = now() + interval '10 min'")
    client.post("/write", json={"a": 2})
    assert sql("SELECT expires_at = absolute_at FROM web_session") == [(True,)]


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_bytes_that_are_no_session_are_anonymous_and_never_run(
    client: FlaskClient, sql: Sql, tmp_path: Path
) -> None:
    register(client)
    log_in(client)
    exploded = tmp_path / "exploded"
    for garbage in (b"", b"\xc1", b"garbage", pickle.dumps(Bomb(exploded)), b"\x91" * 60_000):
        sql("UPDATE web_session SET data = %s", garbage)
        with records_of("app.sessions") as records:
            assert client.get("/read").get_json() == {}
        assert client.get("/api/auth/me").status_code == 401
        assert "is unreadable" in records[0].getMessage()
        assert sql("SELECT data FROM web_session") == [(garbage,)], "the row is kept as it is"
    assert not exploded.exists()

    assert client.post("/write", json={"a": 1}).status_code == 200
    assert client.get("/read").get_json() == {"a": 1}
    assert rows(sql) == 2


def test_logout_ends_an_unreadable_session_too(client: FlaskClient, sql: Sql) -> None:
    register(client)
    log_in(client)
    sql("UPDATE web_session SET data = 'garbage'")
    assert client.post("/api/auth/logout").status_code == 200
    assert rows(sql) == 0


def test_data_too_large_is_an_error_that_says_so(client: FlaskClient, sql: Sql) -> None:
    client.post("/write", json={"a": 1})
    with records_of("app.sessions") as records:
        answer = client.post("/unstorable")
    assert answer.status_code == 500
    assert answer.get_json()["error"]["code"] == "internal_error"
    assert answer.headers["X-Request-ID"]
    assert len(records) == 1, "Flask saved twice"
    assert records[0].getMessage().endswith(f"the limit is {codec.MAX_BYTES}")
    assert client.get("/read").get_json() == {"a": 1}


def test_a_session_is_a_dictionary(app: Flask) -> None:
    with app.test_request_context("/"):
        assert not session
        session.update(a=1, b=[2])
        session.setdefault("c", 3)
        assert dict(session) == {"a": 1, "b": [2], "c": 3}
        assert {**session} == dict(session.items())
        assert "a" in session
        assert session.pop("a") == 1
        del session["b"]
        assert list(session) == ["c"]
        assert "c" not in repr(session)
        with pytest.raises(TypeError, match="session keys are strings, not int"):
            session[1] = 2  # type: ignore[index]
        session.clear()
        assert len(session) == 0
