from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.sessions import token
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import EMAIL, PASSWORD, AppFactory, cookie, log_in, register
from tests.app.test_health import wait_until_ready

NOBODY = "postgresql://ada:hunter2@127.0.0.1:1/none"


def is_unavailable(answer: TestResponse) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.get_json()["error"]["code"] == "database_unavailable"
    assert answer.get_json()["error"]["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Worker-ID"]
    assert "Set-Cookie" not in answer.headers
    assert "hunter2" not in answer.text
    return True


@pytest.fixture
def away(make_app: AppFactory) -> Flask:
    app = make_app(NOBODY)

    @app.get("/write-only")
    def write_only() -> tuple[dict[str, Any], int, dict[str, str]]:
        session["a"] = 1  # a new session: the database is first asked when it is saved
        return {"promised": True}, 201, {"ETag": '"x"', "Location": "/elsewhere"}

    return app


def test_a_request_that_needs_its_session_is_refused_and_keeps_the_cookie(away: Flask) -> None:
    client = away.test_client()
    sid = token.new()
    client.set_cookie("session", sid)
    assert is_unavailable(client.get("/api/auth/me"))
    assert is_unavailable(client.post("/api/auth/logout"))
    login = {"email": EMAIL, "password": PASSWORD}
    assert is_unavailable(client.post("/api/auth/login", json=login))
    assert cookie(client) == sid


def test_an_answer_whose_session_cannot_be_saved_is_taken_back(away: Flask) -> None:
    answer = away.test_client().get("/write-only")
    assert is_unavailable(answer)
    assert "promised" not in answer.text
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert "ETag" not in answer.headers
    assert "Location" not in answer.headers


def test_a_request_that_needs_no_session_is_served(away: Flask) -> None:
    client = away.test_client()
    client.set_cookie("session", token.new())
    for path in ("/health", "/api/status", "/health/live"):
        assert client.get(path).status_code == 200
    anonymous = away.test_client()
    assert anonymous.get("/api/auth/me").status_code == 401
    assert anonymous.post("/api/auth/logout").status_code == 200


def test_without_a_database_url_it_is_the_same(make_app: AppFactory) -> None:
    client = make_app(None).test_client()
    client.set_cookie("session", token.new())
    assert is_unavailable(client.get("/api/auth/me"))


def test_a_session_survives_a_restart_of_postgres(
    make_app: AppFactory, own_postgres: EmbeddedPostgres
) -> None:
    client = make_app(own_postgres.start()).test_client()
    register(client)
    log_in(client)

    own_postgres.stop()
    assert is_unavailable(client.get("/api/auth/me"))
    own_postgres.start()
    wait_until_ready(client)
    assert client.get("/api/auth/me").status_code == 200


def test_a_restart_between_two_requests_is_not_noticed(
    make_app: AppFactory, own_postgres: EmbeddedPostgres
) -> None:
    client: FlaskClient = make_app(own_postgres.start()).test_client()
    register(client)
    log_in(client)
    own_postgres.stop()
    own_postgres.start()
    assert client.get("/api/auth/me").status_code == 200
