from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import Sql

PATH = "/api/preferences"


def test_they_are_kept_in_the_session(client: FlaskClient, sql: Sql) -> None:
    assert client.get(PATH).get_json() == {"preferences": {}}
    given = {"theme": "dark", "size": 1.5, "count": 3, "beta": True}
    assert client.patch(PATH, json=given).get_json() == {"preferences": given}
    assert client.get(PATH).get_json() == {"preferences": given}
    assert sql("SELECT count(*) FROM web_session") == [(1,)]


def test_null_removes_and_the_rest_stays(client: FlaskClient) -> None:
    client.patch(PATH, json={"theme": "dark", "beta": True})
    answer = client.patch(PATH, json={"theme": None, "size": 2, "unknown": None})
    assert answer.get_json() == {"preferences": {"beta": True, "size": 2}}


def test_to_remove_what_is_not_there_makes_no_session(client: FlaskClient) -> None:
    answer = client.patch(PATH, json={"theme": None})
    assert answer.get_json() == {"preferences": {}}
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "body: must have 1 to 50 members"),
        ({str(n): n for n in range(51)}, "body: must have 1 to 50 members"),
        ({"": 1}, "body: a name must have 1 to 50 characters"),
        ({"x" * 51: 1}, "body: a name must have 1 to 50 characters"),
        ({"\ud800": 1}, "body: a name must have 1 to 50 characters"),
        ({"a": "x" * 201}, "a: must have at most 200 characters"),
        ({"a": "\ud800"}, "a: must have at most 200 characters"),
        ({"a": 2**63}, "a: must be a number from -2^63 to below 2^63"),
        ({"a": [1]}, "a: must be a text, a number, true, false or null"),
        ({"a": {}}, "a: must be a text, a number, true, false or null"),
    ],
)
def test_what_cannot_be_kept_is_refused(client: FlaskClient, given: Any, why: str) -> None:
    answer = client.patch(PATH, json=given)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["message"] == why
    assert "Set-Cookie" not in answer.headers


def test_a_number_beyond_all_numbers_is_refused(client: FlaskClient) -> None:
    answer = client.patch(PATH, data='{"a": 1e999}', content_type="application/json")
    assert answer.status_code in (400, 422)


def test_no_more_than_fifty_are_kept(client: FlaskClient) -> None:
    client.patch(PATH, json={str(n): n for n in range(50)})
    answer = client.patch(PATH, json={"one more": 1})
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "too_many_preferences"
    assert len(client.get(PATH).get_json()["preferences"]) == 50
