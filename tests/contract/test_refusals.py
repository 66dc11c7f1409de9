"""Refusals that no generated request meets are described, too: each is provoked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from schemathesis import Case, Response
from schemathesis.checks import not_a_server_error

from tests.app.conftest import AppFactory
from tests.contract.stage import INTERNAL_TOKEN, SESSION_TOKEN, STAGE, Scene, described, schema

NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"
LOGIN = "POST /api/auth/login"
PAYMENT = "POST /api/payments/confirm"


def operations(status: str) -> list[str]:
    """Those that describe this answer; /ws, which answers a handshake so, has tests of its own."""
    return [
        f"{method.upper()} {path}"
        for path, item in described()["paths"].items()
        for method in ("get", "post", "patch")
        if path != "/ws" and status in item.get(method, {}).get("responses", ())
    ]


def case(label: str, **changes: Any) -> Case[Any]:
    """The operation's own example, from who is logged in and has the token."""
    method, _, path = label.partition(" ")
    item = described()["paths"][path]
    fields: dict[str, Any] = {
        "headers": {"Authorization": f"Bearer {INTERNAL_TOKEN}"},
        "cookies": {"session": SESSION_TOKEN},
    }
    if "parameters" in item:
        fields["path_parameters"] = {each["name"]: each["example"] for each in item["parameters"]}
    if "requestBody" in item[method.lower()]:
        content = item[method.lower()]["requestBody"]["content"]["application/json"]
        (example,) = content["examples"].values()
        fields |= {"body": example["value"], "media_type": "application/json"}
    return schema()[path][method].Case(**fields | changes)


@pytest.fixture
def no_database(make_app: AppFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STAGE, "app", make_app(NOBODY, internal_token=INTERNAL_TOKEN))


def as_described(asked: Case[Any]) -> Response:
    answer = asked.call()
    # A 503 is the refusal that is asked for here.
    asked.validate_response(answer, excluded_checks=[not_a_server_error])
    return answer


@pytest.mark.parametrize("label", operations("403"))
def test_a_page_of_another_origin(label: str, no_database: None) -> None:
    answer = as_described(case(label, headers={"Origin": "https://elsewhere.example"}))
    assert answer.status_code == 403


@pytest.mark.parametrize("label", operations("413"))
def test_a_body_that_is_too_large(label: str, no_database: None) -> None:
    assert as_described(case(label, body={"a": "a" * 1024 * 1024})).status_code == 413


@pytest.mark.parametrize("label", operations("503"))
def test_a_database_that_is_away(label: str, no_database: None) -> None:
    assert as_described(case(label)).status_code == 503


def test_too_many_failed_logins(scene: Scene) -> None:
    scene.reset()
    wrong = {"email": "nobody@example.com", "password": "wrong"}
    answers = [as_described(case(LOGIN, body=wrong)) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]


def test_a_payment_with_another_amount(scene: Scene) -> None:
    scene.reset()
    confirmed = case(PAYMENT)
    assert as_described(confirmed).status_code == 202
    assert isinstance(confirmed.body, dict)
    confirmed.body["amount"] = 1
    assert as_described(confirmed).status_code == 409


def test_too_many_preferences(scene: Scene) -> None:
    scene.reset()
    for number, status in ((1, 200), (2, 422)):
        changes = {f"{number} {name}": name for name in range(50)}
        answer = as_described(case("PATCH /api/preferences", body=changes))
        assert answer.status_code == status
