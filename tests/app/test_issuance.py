from __future__ import annotations

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.credentials import CanonicalFormError, canonical_form
from app.db import Connection
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import AppFactory, Sql
from tests.app.test_health import wait_until_ready
from tests.app.test_sessions import statements
from tests.app.test_sessions_outage import NOBODY, is_unavailable

TOKEN = "an internal token"
DIPLOMA = {"type": "Diploma", "holder": {"name": "Ada"}, "grades": [1, 2.5, None, True]}


@pytest.fixture
def app(make_app: AppFactory, database_url: str) -> Flask:
    app = make_app(database_url, internal_token=TOKEN)
    assert app.test_client().get("/health/ready").status_code == 200, "the schema is there"
    return app


def issue(client: FlaskClient, body: str | bytes) -> TestResponse:
    return client.post("/api/issue", data=body, content_type="application/json")


def read(client: FlaskClient, credential_id: str, token: str | None = TOKEN) -> TestResponse:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client.get(f"/internal/credentials/{credential_id}", headers=headers)


def lose_the_answer(patch: pytest.MonkeyPatch, table: str) -> list[str]:
    """The connection breaks once after Postgres did an INSERT; the list then holds the query."""
    lost: list[str] = []
    execute = Connection.execute

    def execute_and_break(self: Connection, query: Any, *args: Any, **kwargs: Any) -> Any:
        cursor = execute(self, query, *args, **kwargs)
        if not lost and f"INSERT INTO {table}" in query:
            lost.append(query)
            self.close()
            raise psycopg.OperationalError("the answer was lost")
        return cursor

    patch.setattr(Connection, "execute", execute_and_break)
    return lost


def test_a_content_is_issued_once(client: FlaskClient, sql: Sql) -> None:
    first = client.post("/api/issue", json=DIPLOMA)
    assert first.status_code == 201
    facts = first.get_json()
    assert list(facts) == ["id", "issued_by", "issued_at"]
    assert facts["issued_by"] == first.headers["X-Worker-ID"] == f"pid-{os.getpid()}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts["issued_at"])
    assert "Set-Cookie" not in first.headers

    again = client.post("/api/issue", json=DIPLOMA)
    assert (again.status_code, again.get_json()) == (200, facts)
    ((credential_id, digest, content),) = sql("SELECT id, content_hash, content FROM credential")
    assert str(credential_id) == facts["id"]
    assert digest == hashlib.sha256(content.encode()).digest()
    assert json.loads(content) == DIPLOMA


def test_the_facts_are_the_first_workers(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_ID", "worker-2")
    first = client.post("/api/issue", json=DIPLOMA)
    assert first.get_json()["issued_by"] == "worker-2"
    monkeypatch.setenv("WORKER_ID", "worker-3")
    again = client.post("/api/issue", json=DIPLOMA)
    assert again.headers["X-Worker-ID"] == "worker-3"
    assert again.get_json() == first.get_json()


@pytest.mark.parametrize(
    "spellings",
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}', ' {\n"a" : 1,\t"b":2 }\r\n'),
        ('{"a":{"x":1,"y":2}}', '{"a":{"y":2,"x":1}}'),
        ('{"a":1}', '{"a":1.0}', '{"a":1e0}', '{"a":10E-1}', '{"a":1.00000000000000000001}'),
        ('{"a":0}', '{"a":-0}', '{"a":-0.0}', '{"a":0e9}'),
        ('{"a":4.5}', '{"a":4.50}', '{"a":45e-1}'),
        ('{"a":"é/"}', '{"\\u0061":"\\u00e9\\/"}', '{"a":"\\u00E9/"}'),
        ('{"a":"😀"}', '{"a":"\\ud83d\\ude00"}'),
        ('{"a":9007199254740991}', '{"a":9007199254740991.0}'),
        ('{"a":1e15}', '{"a":1E+15}', '{"a":1000000000000000.0}'),
    ],
)
def test_order_spacing_and_spelling_do_not_count(
    client: FlaskClient, spellings: tuple[str, ...]
) -> None:
    first, *rest = (issue(client, spelling) for spelling in spellings)
    assert first.status_code == 201
    for answer in rest:
        assert (answer.status_code, answer.get_json()) == (200, first.get_json())


def test_another_content_is_another_credential(client: FlaskClient, sql: Sql) -> None:
    contents = [
        *('{"a":1}', '{"a":"1"}', '{"a":true}', '{"a":null}', '{"a":[1]}', '{"a":[]}', '{"a":{}}'),
        *('{"A":1}', '{"a ":1}', '{"a":[1,2]}', '{"a":[2,1]}', '{"a":1,"b":1}', '{"a":0.1}'),
        *('{"a":"é"}', '{"a":"e\\u0301"}', '{"":1}', '{"a":"\\u0000"}', '{"a":"\\\\u0000"}'),
    ]
    answers = [issue(client, content) for content in contents]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.get_json()["id"] for answer in answers}) == len(contents)
    assert sql("SELECT count(*) FROM credential") == [(len(contents),)]


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    numbers = r'{"numbers": [333333333.33333329, 1E15, 4.50, 2e-3, 0.000000000000000000000000001],'
    string = r'"string": "\u20ac$\u000F\u000aA' + r"'\u0042\u0022\u005c\\\"\/" + '",'
    sample = json.loads(numbers + string + '"literals": [null, true, false]}')
    expected = (
        r'{"literals":[null,true,false],"numbers":[333333333.3333333,1000000000000000,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA' + r"'B\"\\\\\"/" + '"}'
    )
    assert canonical_form(sample).decode() == expected

    names = ["€", "\r", "\ufb33", "1", "😀", "\u0080", "ö"]
    in_order = list(json.loads(canonical_form(dict.fromkeys(names, 0))))
    assert in_order == ["\r", "1", "\u0080", "ö", "€", "😀", "\ufb33"]


@pytest.mark.parametrize(
    "body",
    [
        '{"a":-9007199254740991}',
        '{"a":9007199254740990.5,"b":-5e-324}',
        '{"\\u0000":"\\u0000\\u001f\\u007f\\u2028"}',
        '{"":{"":[{}]}}',
        '{"name":"Ἀδα 艾达 🎓 \\"quoted\\" <script>"}',
        '{"a":' + "[" * 499 + "]" * 499 + "}",
        '{"a":' * 499 + "{}" + "}" * 499,
        '{"a":"' + "x" * 1_000_000 + '"}',
    ],
)
def test_what_is_stored_is_a_fixed_point(client: FlaskClient, body: str) -> None:
    first = issue(client, body)
    assert first.status_code == 201
    credential_id = first.get_json()["id"]
    answer = read(client, credential_id)
    assert answer.status_code == 200
    text = answer.get_data(as_text=True)
    assert json.loads(text)["credential"] == json.loads(body)
    content = text.removeprefix(f'{{"id":"{credential_id}","credential":')
    content = content[: content.rindex(',"issued_by":')]
    again = issue(client, content)
    assert (again.status_code, again.get_json()["id"]) == (200, credential_id)


BEYOND = "body: has a number beyond ±(2^53 - 1)"
HALF = "body: has a text with half a character (a lone surrogate)"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "body: must have at least one member"),
        ('{"a":9007199254740992}', BEYOND),
        ('{"a":[{"b":-9007199254740992}]}', BEYOND),
        ('{"a":' + "9" * 4000 + "}", BEYOND),
        ('{"a":9007199254740992.0}', BEYOND),
        ('{"a":-1e20}', BEYOND),
        ('{"a":1e21}', BEYOND),
        ('{"a":1e400}', BEYOND),
        ('{"a":"\\ud800"}', HALF),
        ('{"a":"\\ude00\\ud83d"}', HALF),
        ('{"\\udfff":1}', HALF),
        ('{"a":' + "[" * 500 + "]" * 500 + "}", "body: is nested deeper than 500 levels"),
        ('{"a":' * 500 + "{}" + "}" * 500, "body: is nested deeper than 500 levels"),
    ],
)
def test_what_has_no_canonical_form_is_refused(
    make_app: AppFactory, body: str, message: str
) -> None:
    answer = issue(make_app(None).test_client(), body)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "invalid_field"
    assert answer.get_json()["error"]["message"] == message


@pytest.mark.parametrize(
    "body",
    [
        *('{"a":NaN}', '{"a":Infinity}', '{"a":[-Infinity]}', '{"a":1,}', "{'a':1}", '{"a":01}'),
        *("[]", "[1]", '"a"', "1", "null", "", '{"a":' * 100_000, b'{"a":"\xff"}'),
    ],
)
def test_what_is_no_json_object_is_refused(make_app: AppFactory, body: str | bytes) -> None:
    answer = issue(make_app(None).test_client(), body)
    assert answer.status_code == 400, body[:20]
    assert answer.get_json()["error"]["code"] == "invalid_json"


def test_a_canonical_form_is_refused_in_one_line() -> None:
    with pytest.raises(CanonicalFormError) as refused:
        canonical_form({"a": 2**53})
    assert "\n" not in str(refused.value)


def test_of_many_issues_at_once_one_is_the_first(app: Flask, sql: Sql) -> None:
    def attempt(_: int) -> tuple[int, str]:
        answer = app.test_client().post("/api/issue", json=DIPLOMA)
        return answer.status_code, answer.text

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(attempt, range(16)))
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({text for _, text in answers}) == 1
    assert sql("SELECT count(*) FROM credential") == [(1,)]


def test_an_issue_whose_answer_was_lost_is_still_the_first(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_the_answer(monkeypatch, "credential")
    answer = client.post("/api/issue", json=DIPLOMA)
    assert lost
    assert answer.status_code == 201
    assert sql("SELECT id::text FROM credential") == [(answer.get_json()["id"],)]
    assert client.post("/api/issue", json=DIPLOMA).status_code == 200


def test_the_first_is_one_statement_and_a_repetition_two(app: Flask, client: FlaskClient) -> None:
    for expected in (["INSERT"], ["INSERT", "SELECT"]):
        with statements(app) as sent:
            client.post("/api/issue", json=DIPLOMA)
        assert [s.split()[0] for s in sent] == expected
    with statements(app) as sent:
        issue(client, "{}")
    assert sent == []


def test_postgres_away(make_app: AppFactory) -> None:
    client = make_app(NOBODY, internal_token=TOKEN).test_client()
    assert is_unavailable(client.post("/api/issue", json=DIPLOMA))
    credential_id = "0b7a5c2e-8a0f-4f3e-9a39-2b8f4d1f7c11"
    assert is_unavailable(read(client, credential_id))
    assert read(client, credential_id, "wrong").status_code == 401
    assert read(client, "malformed").status_code == 404


def test_a_restart_of_postgres_forgets_nothing(
    make_app: AppFactory, own_postgres: EmbeddedPostgres
) -> None:
    client = make_app(own_postgres.start()).test_client()
    first = client.post("/api/issue", json=DIPLOMA)
    assert first.status_code == 201
    own_postgres.stop()
    assert is_unavailable(client.post("/api/issue", json=DIPLOMA))
    own_postgres.start()
    wait_until_ready(client)
    again = client.post("/api/issue", json=DIPLOMA)
    assert (again.status_code, again.get_json()) == (200, first.get_json())
