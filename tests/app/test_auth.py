from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

from app import passwords
from tests.app.conftest import (
    EMAIL,
    PASSWORD,
    AppFactory,
    Sql,
    cookie,
    log_in,
    records_of,
    register,
)


def test_register_log_in_me_log_out(client: FlaskClient) -> None:
    answer = client.post("/api/auth/register", json={"email": EMAIL, "password": PASSWORD})
    assert answer.status_code == 201
    user = answer.get_json()["user"]
    assert set(user) == {"id", "email"}
    assert user["email"] == EMAIL
    assert "Set-Cookie" not in answer.headers, "who registers is not logged in"
    assert client.get("/api/auth/me").status_code == 401

    answer = client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.get_json() == {"user": user}
    answer = client.get("/api/auth/me")
    assert answer.get_json() == {"user": user}
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Cookie" in answer.headers["Vary"]

    answer = client.post("/api/auth/logout")
    assert (answer.status_code, answer.get_json()) == (200, {"success": True})
    answer = client.get("/api/auth/me")
    assert answer.status_code == 401
    assert answer.get_json()["error"]["code"] == "unauthenticated"


def test_the_address_is_trimmed_and_lower_case(client: FlaskClient, sql: Sql) -> None:
    register(client, "  Ada@EXAMPLE.com ")
    assert sql("SELECT email FROM account") == [("ada@example.com",)]
    log_in(client, "ADA@example.com")


def test_an_address_is_registered_once(client: FlaskClient, sql: Sql) -> None:
    register(client)
    other = {"email": EMAIL.upper(), "password": "another password"}
    answer = client.post("/api/auth/register", json=other)
    assert answer.status_code == 409
    assert answer.get_json()["error"]["code"] == "email_taken"
    log_in(client)
    assert sql("SELECT count(*) FROM account") == [(1,)]


def test_of_many_registrations_at_once_one_succeeds(app: Flask, sql: Sql) -> None:
    def attempt(number: int) -> int:
        fields = {"email": EMAIL, "password": f"password {number}"}
        return app.test_client().post("/api/auth/register", json=fields).status_code

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(attempt, range(8))) == [201] + [409] * 7
    assert sql("SELECT count(*) FROM account") == [(1,)]


GOOD: dict[str, Any] = {"email": EMAIL, "password": PASSWORD}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"email": None}, "email: is required"),
        ({"password": None}, "password: is required"),
        ({"email": 1}, "email: must be a text"),
        ({"password": ["x"] * 8}, "password: must be a text"),
        ({"password": "half a character \ud800"}, "password: must be a text"),
        ({"email": "\ud800@example.com"}, "email: must be a text"),
        ({"password": "seven77"}, "password: must have 8 to 1024 characters"),
        ({"password": "x" * 1025}, "password: must have 8 to 1024 characters"),
        ({"email": ""}, "email: must have 1 to 254 characters"),
        ({"email": "a@" + "b" * 250 + ".com"}, "email: must have 1 to 254 characters"),
        *(
            ({"email": email}, "email: must be an address like name@example.com")
            for email in [
                "   ",
                "ada",
                "ada@",
                "@example.com",
                "ada@localhost",
                "ada@example..com",
                "ada@-example.com",
                "ada lovelace@example.com",
                "ada@example.com\x00",
                "ada@example.com, b@example.com",
                "x" * 65 + "@example.com",
                "ädä@example.com",
            ]
        ),
    ],
)
def test_a_bad_field_is_named(make_app: AppFactory, change: dict[str, Any], message: str) -> None:
    answer = make_app(None).test_client().post("/api/auth/register", json=GOOD | change)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "invalid_field"
    assert answer.get_json()["error"]["message"] == message


def test_letters_that_only_look_like_ascii(client: FlaskClient) -> None:
    kelvin = {"email": "\u212aelvin@example.com", "password": PASSWORD}  # in lower case a "k"
    assert client.post("/api/auth/register", json=kelvin).status_code == 422


def test_a_login_with_what_postgres_cannot_hold(client: FlaskClient) -> None:
    fields = {"email": "ada\x00@example.com", "password": PASSWORD}
    answer = client.post("/api/auth/login", json=fields)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["message"] == "email: must be a text without U+0000"


def test_bounds_of_the_password_are_inclusive(client: FlaskClient) -> None:
    for number, length in enumerate((8, 1024)):
        fields = {"email": f"u{number}@example.com", "password": "é" * length}
        assert client.post("/api/auth/register", json=fields).status_code == 201
        assert client.post("/api/auth/login", json=fields).status_code == 200


def test_wrong_password_and_unknown_user_are_answered_alike(client: FlaskClient) -> None:
    register(client)
    answers = []
    for fields in (
        {"email": EMAIL, "password": "wrong"},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"email": "no address", "password": PASSWORD},
    ):
        answer = client.post("/api/auth/login", json=fields)
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers
        error = answer.get_json()["error"]
        answers.append((error["code"], error["message"]))
    assert set(answers) == {("invalid_credentials", "Email or password is wrong.")}


def test_an_unknown_user_costs_as_much_work(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords.prepare()
    verified = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - argon2's
            verified.append(hash)
            return super().verify(hash, password)

    known = passwords.hash_password(PASSWORD)
    monkeypatch.setattr(passwords, "_hasher", Counting())
    assert passwords.verify(known, PASSWORD)
    assert not passwords.verify(known, "wrong")
    assert not passwords.verify(None, PASSWORD)
    assert not passwords.verify("not a hash", PASSWORD)
    assert len(verified) == 4
    parameters = {str(each).rpartition("$")[0].rpartition("$")[0] for each in verified[:3]}
    assert parameters == {"$argon2id$v=19$m=65536,t=3,p=4"}


def test_a_refused_login_verifies_once_and_a_limited_one_never(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(client)
    verified = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - argon2's
            verified.append(hash)
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    for email in (EMAIL, "nobody@example.com", "no address"):
        fields = {"email": email, "password": "wrong"}
        for _ in range(10):
            verified.clear()
            assert client.post("/api/auth/login", json=fields).status_code == 401
            assert len(verified) == 1
        verified.clear()
        answer = client.post("/api/auth/login", json=fields | {"password": PASSWORD})
        assert answer.status_code == 429
        assert verified == []


def test_a_body_has_room_for_the_longest_fields_however_spelled(client: FlaskClient) -> None:
    escaped = "\\ud83d\\ude00"  # one character, in twelve
    body = f'{{"email": "{escaped * 254}", "password": "{escaped * 1024}"}}'
    answer = client.post("/api/auth/login", data=body, content_type="application/json")
    assert answer.status_code == 401
    answer = client.post("/api/auth/login", data=body + " " * 1024, content_type="application/json")
    assert answer.status_code == 413
    assert answer.get_json()["error"]["message"] == "The body is larger than 16 KiB."


def test_an_old_hash_is_renewed_at_login(client: FlaskClient, sql: Sql) -> None:
    register(client)
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    sql("UPDATE account SET password_hash = %s", old)
    log_in(client)
    assert "m=65536,t=3,p=4" in sql("SELECT password_hash FROM account")[0][0]
    log_in(client)


def test_a_second_user_on_one_client_sees_nothing_of_the_first(
    app: Flask, client: FlaskClient, sql: Sql
) -> None:
    register(client)
    register(client, "bob@example.com")
    first = log_in(client)
    second = log_in(client, "bob@example.com")
    assert first != second
    assert client.get("/api/auth/me").get_json()["user"]["email"] == "bob@example.com"
    thief = app.test_client()
    thief.set_cookie("session", first)
    assert thief.get("/api/auth/me").status_code == 401


def test_me_of_a_deleted_account_is_nobody(client: FlaskClient, sql: Sql) -> None:
    register(client)
    log_in(client)
    sql("DELETE FROM account")
    assert client.get("/api/auth/me").status_code == 401


def test_no_secret_is_logged(client: FlaskClient) -> None:
    with records_of("") as records:
        register(client)
        token = log_in(client)
        client.get("/api/auth/me")
        client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD + "?"})
        client.post("/api/auth/register", json={"email": EMAIL, "password": PASSWORD})
        client.post("/api/auth/logout")
    text = " ".join(record.getMessage() for record in records)
    assert PASSWORD not in text
    assert token not in text
    assert cookie(client) is None
