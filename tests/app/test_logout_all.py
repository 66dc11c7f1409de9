from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from tests.app.conftest import Sql, cookie, log_in, register


def test_it_ends_the_users_sessions_on_every_device(
    app: Flask, client: FlaskClient, sql: Sql
) -> None:
    register(client)
    register(client, "bob@example.com")
    phone, bob = app.test_client(), app.test_client()
    for device in (client, phone):
        log_in(device)
    log_in(bob, "bob@example.com")

    answer = client.post("/api/auth/logout-all")
    assert (answer.status_code, answer.get_json()) == (200, {"success": True, "ended": 2})
    assert cookie(client) is None
    assert phone.get("/api/auth/me").status_code == 401
    assert bob.get("/api/auth/me").status_code == 200
    assert sql("SELECT count(*) FROM web_session") == [(1,)]


def test_nobody_is_logged_in(client: FlaskClient) -> None:
    answer = client.post("/api/auth/logout-all")
    assert answer.status_code == 401
    assert answer.get_json()["error"]["code"] == "unauthenticated"
