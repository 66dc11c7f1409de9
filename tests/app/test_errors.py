from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, abort, redirect
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized
from werkzeug.test import TestResponse

from tests.app.conftest import AppFactory, records_of


@pytest.fixture
def plain(make_app: AppFactory) -> Flask:
    app = make_app(None)

    @app.get("/abort/<int:status>")
    def aborting(status: int) -> str:
        abort(status)

    @app.get("/fails")
    def failing() -> str:
        raise RuntimeError("a secret of ours")

    @app.get("/challenge")
    def challenge() -> str:
        raise Unauthorized(www_authenticate=WWWAuthenticate("bearer"))

    @app.get("/elsewhere")
    def elsewhere() -> Any:
        return redirect("/health")

    return app


def error(answer: TestResponse, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/json"
    facts = answer.get_json()
    assert list(facts) == ["error"]
    assert list(facts["error"]) == ["code", "message", "request_id"]
    assert facts["error"]["request_id"] == answer.headers["X-Request-ID"]
    assert facts["error"]["message"]
    found: dict[str, str] = facts["error"]
    return found


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (401, "unauthenticated"),
        (403, "forbidden"),
        (404, "not_found"),
        (409, "conflict"),
        (413, "payload_too_large"),
        (415, "unsupported_media_type"),
        (418, "im_a_teapot"),
        (422, "invalid_field"),
        (429, "too_many_requests"),
        (500, "internal_error"),
        (503, "unavailable"),
    ],
)
def test_every_error_has_the_same_shape(plain: Flask, status: int, code: str) -> None:
    assert error(plain.test_client().get(f"/abort/{status}"), status)["code"] == code


def test_an_unknown_address(plain: Flask) -> None:
    assert error(plain.test_client().get("/nowhere"), 404)["code"] == "not_found"


def test_a_wrong_method_is_told_the_right_ones(plain: Flask) -> None:
    answer = plain.test_client().post("/health")
    assert error(answer, 405)["code"] == "method_not_allowed"
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_the_headers_of_an_error_are_kept(plain: Flask) -> None:
    answer = plain.test_client().get("/challenge")
    assert error(answer, 401)["code"] == "unauthenticated"
    assert answer.headers["WWW-Authenticate"].lower() == "bearer"


def test_a_failure_is_logged_and_not_told(plain: Flask) -> None:
    with records_of("app") as records:
        answer = plain.test_client().get("/fails")
    assert error(answer, 500)["code"] == "internal_error"
    assert "secret" not in answer.text
    assert len(records) == 1
    assert records[0].exc_info is not None
    assert str(records[0].exc_info[1]) == "a secret of ours"
    assert getattr(records[0], "request_id", None) == answer.headers["X-Request-ID"]


def test_a_body_too_large_is_refused(plain: Flask) -> None:
    answer = plain.test_client().post(
        "/api/auth/login", data=b'"' + b"a" * 1024 * 1024 + b'"', content_type="application/json"
    )
    assert error(answer, 413)["code"] == "payload_too_large"


def test_who_is_refused_a_body_is_told_the_limit(plain: Flask) -> None:
    for path, size in (("/api/auth/login", "16 KiB"), ("/api/preferences", "1 MiB")):
        method = "POST" if "auth" in path else "PATCH"
        answer = plain.test_client().open(
            path, method=method, data=b"a" * (1024 * 1024 + 1), content_type="application/json"
        )
        assert error(answer, 413)["message"] == f"The body is larger than {size}."


def test_a_redirection_is_no_error(plain: Flask) -> None:
    assert plain.test_client().get("/elsewhere").location == "/health"


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"", "application/json", 400, "invalid_json"),
        (b"\xff\xfe", "application/json", 400, "invalid_json"),
        (b"[" * 10_000, "application/json", 400, "invalid_json"),
        (b'{"email": ' + b"1" * 10_000 + b"}", "application/json", 400, "invalid_json"),
        *(
            (f'{{"email": {value}}}'.encode(), "application/json", 400, "invalid_json")
            for value in ["NaN", "Infinity", "-Infinity", "[NaN]", '{"a": Infinity}']
        ),
        (b"[]", "application/json", 400, "invalid_json"),
        (b'"text"', "application/json", 400, "invalid_json"),
        (b"null", "application/json", 400, "invalid_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"email=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "application/json", 422, "invalid_field"),
    ],
)
def test_a_bad_body_is_the_clients_fault(
    plain: Flask, body: bytes, kind: str, status: int, code: str
) -> None:
    for path in ("/api/auth/register", "/api/auth/login"):
        answer = plain.test_client().post(path, data=body, content_type=kind)
        assert error(answer, status)["code"] == code
