from __future__ import annotations

import pytest
from flask import Flask, Response
from werkzeug.test import TestResponse

from tests.app.conftest import AppFactory

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@pytest.fixture
def plain(make_app: AppFactory) -> Flask:
    app = make_app(None)

    @app.get("/fails")
    def failing() -> str:
        raise RuntimeError

    @app.get("/page")
    def page() -> Response:
        headers = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"}
        return Response("<p>", headers=headers)

    return app


def protected(answer: TestResponse) -> bool:
    return ALWAYS.items() <= {name: answer.headers.get(name) for name in ALWAYS}.items()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("OPTIONS", "/health", 200),
        ("GET", "/api/status", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/health", 405),
        ("POST", "/api/auth/login", 415),
        ("GET", "/api/auth/me", 401),
        ("GET", "/fails", 500),
        ("GET", "/health/ready", 503),
    ],
)
def test_every_answer_is_protected(plain: Flask, method: str, path: str, status: int) -> None:
    answer = plain.test_client().open(path, method=method)
    assert answer.status_code == status
    assert protected(answer), answer.headers
    for name in ALWAYS:
        assert len(answer.headers.getlist(name)) == 1
    assert "Strict-Transport-Security" not in answer.headers


def test_an_answer_that_could_not_be_saved_is_protected(plain: Flask) -> None:
    answer = plain.test_client().patch("/api/preferences", json={"theme": "dark"})
    assert answer.status_code == 503
    assert protected(answer), answer.headers


def test_in_production_browsers_are_told_to_stay_with_tls(make_app: AppFactory) -> None:
    client = make_app(None, env="production").test_client()
    for path in ("/health", "/nowhere"):
        answer = client.get(path)
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert protected(answer)


def test_a_view_may_differ(plain: Flask) -> None:
    answer = plain.test_client().get("/page")
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
    assert answer.headers["Cache-Control"] == "max-age=60"
    assert answer.headers["X-Frame-Options"] == "DENY"
