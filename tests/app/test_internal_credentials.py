from __future__ import annotations

import uuid

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.app.conftest import AppFactory
from tests.app.test_issuance import DIPLOMA, TOKEN, read


@pytest.fixture
def app(make_app: AppFactory, database_url: str) -> Flask:
    return make_app(database_url, internal_token=TOKEN)


@pytest.fixture
def facts(client: FlaskClient) -> dict[str, str]:
    answer = client.post("/api/issue", json=DIPLOMA)
    assert answer.status_code == 201
    found: dict[str, str] = answer.get_json()
    return found


def test_it_is_the_credential_with_the_facts_of_its_issue(
    client: FlaskClient, facts: dict[str, str]
) -> None:
    answer = read(client, facts["id"])
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    assert answer.get_json() == {**facts, "credential": DIPLOMA}
    assert list(answer.get_json()) == ["id", "credential", "issued_by", "issued_at"]
    assert read(client, facts["id"].upper()).get_json() == answer.get_json()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_schemes_case_does_not_count(
    client: FlaskClient, facts: dict[str, str], scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    path = f"/internal/credentials/{facts['id']}"
    assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}"),
        *(f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}", "Bearer ä"),
        *(f"Bearer\t{TOKEN}", f"Bearer {TOKEN},"),
    ],
)
def test_without_the_token_nothing_is_told(
    client: FlaskClient, facts: dict[str, str], header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for credential_id in (facts["id"], str(uuid.uuid4()), "malformed"):
        answer = client.get(f"/internal/credentials/{credential_id}", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.get_json()["error"]["code"] == "unauthenticated"
        assert facts["issued_by"] not in answer.text


def test_without_a_token_of_ours_no_token_is_the_right_one(
    make_app: AppFactory, database_url: str
) -> None:
    client = make_app(database_url).test_client()
    credential_id = client.post("/api/issue", json=DIPLOMA).get_json()["id"]
    for token in ("", "None", TOKEN):
        assert read(client, credential_id, token).status_code == 401


def test_a_token_beyond_ascii(make_app: AppFactory, database_url: str) -> None:
    client = make_app(database_url, internal_token="schlüssel 🔑").test_client()
    credential_id = client.post("/api/issue", json=DIPLOMA).get_json()["id"]
    on_the_wire = "schlüssel 🔑".encode().decode("latin-1")  # as WSGI hands it over
    assert read(client, credential_id, on_the_wire).status_code == 200
    for wrong in ("schlüssel", "schl\xfcssel ?", "\xff"):
        assert read(client, credential_id, wrong).status_code == 401


@pytest.mark.parametrize("spelling", ["{%s}", "urn:uuid:%s", "%s0", "%s ", "no id", "%%00", "٣"])
def test_an_unknown_or_malformed_id(
    client: FlaskClient, facts: dict[str, str], spelling: str
) -> None:
    malformed = spelling % facts["id"] if "%s" in spelling else spelling
    for credential_id in (malformed, facts["id"].replace("-", ""), str(uuid.uuid4())):
        answer = read(client, credential_id)
        assert answer.status_code == 404, credential_id
        assert answer.get_json()["error"]["code"] == "not_found"
