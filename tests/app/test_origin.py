from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from app.web.origin import allowed
from tests.app.conftest import EMAIL, PASSWORD, AppFactory, cookie, register

OURS = "https://shop.example"


def request(host: str | None, **headers: str) -> Request:
    environ = EnvironBuilder("/", method="POST").get_environ()
    environ.pop("HTTP_HOST")
    if host is not None:
        environ["HTTP_HOST"] = host
    return Request(environ | {f"HTTP_{name.upper()}": value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("factory.example", "https://factory.example", True),
        ("factory.example", "http://factory.example", True),
        ("factory.example:443", "https://factory.example", True),
        ("factory.example", "https://factory.example:443", True),
        ("factory.example:80", "http://factory.example", True),
        ("factory.example:3000", "http://factory.example:3000", True),
        ("Factory.Example", "HTTPS://factory.EXAMPLE", True),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", True),
        ("[::1]:3000", "http://[::1]:3000", True),
        ("my_host:3000", "http://my_host:3000", True),
        ("factory.example", "https://shop.example", True),  # of CORS_ORIGINS
        ("factory.example:3000", "http://factory.example", False),
        ("factory.example", "http://factory.example:3000", False),
        ("factory.example:443", "http://factory.example", False),
        ("factory.example:80", "https://factory.example", False),
        ("factory.example", "https://shop.example:8443", False),
        ("factory.example", "http://shop.example", False),
        ("factory.example", "https://evil.example", False),
        ("factory.example", "https://factory.example.evil.example", False),
        ("factory.example", "https://evilfactory.example", False),
        ("factory.example", "https://evil.example#factory.example", False),
        ("factory.example", "https://evil.example@factory.example", False),
        ("factory.example", "https://factory.example/", False),
        ("factory.example", "https://factory.example:", False),
        ("factory.example", "https://factory.example, https://evil.example", False),
        ("factory.example", "ftp://factory.example", False),
        ("factory.example", "chrome-extension://factory.example", False),
        ("factory.example", "factory.example", False),
        ("factory.example", "null", False),
        ("factory.example", "", False),
        ("factory.example", "https://fäctory.example", False),
        ("null", "null", False),
        ("", "", False),
        ("", "https://", False),
        (None, "https://factory.example", False),
        ("factory.example, evil.example", "https://evil.example", False),
    ],
)
def test_an_origin_is_of_our_host_or_listed(host: str | None, origin: str, expected: bool) -> None:
    assert allowed(request(host, origin=origin), (OURS,)) is expected


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("same-origin", True),
        ("none", True),  # typed, or a bookmark
        ("same-site", False),
        ("cross-site", False),
        ("", False),
        ("something new", False),
    ],
)
def test_without_an_origin_the_browsers_own_word_counts(site: str, expected: bool) -> None:
    assert allowed(request("factory.example", sec_fetch_site=site), (OURS,)) is expected


def test_a_program_sends_neither() -> None:
    assert allowed(request("factory.example"), ())


def test_with_an_origin_the_other_header_does_not_matter() -> None:
    both = {"origin": OURS, "sec_fetch_site": "cross-site"}
    assert allowed(request("factory.example", **both), (OURS,))
    both = {"origin": "null", "sec_fetch_site": "same-origin"}
    assert not allowed(request("factory.example", **both), (OURS,))


EVIL = {"Origin": "https://evil.example"}
LOGIN = {"email": EMAIL, "password": PASSWORD}


def test_a_foreign_page_cannot_log_anybody_in(client: FlaskClient) -> None:
    register(client)
    answer = client.post("/api/auth/login", json=LOGIN, headers=EVIL | {"X-Request-ID": "mine"})
    assert answer.status_code == 403
    assert answer.get_json()["error"]["code"] == "cross_origin"
    assert answer.get_json()["error"]["request_id"] == "mine"
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["X-Worker-ID"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    assert cookie(client) is None


def test_a_foreign_page_cannot_log_anybody_out(client: FlaskClient) -> None:
    register(client)
    assert client.post("/api/auth/login", json=LOGIN).status_code == 200
    for headers in (EVIL, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/api/auth/logout", headers=headers).status_code == 403
    assert client.get("/api/auth/me").status_code == 200


def test_every_method_that_may_change_something_is_checked(make_app: AppFactory) -> None:
    client = make_app(None).test_client()
    for method in ("POST", "PUT", "PATCH", "DELETE", "PURGE"):
        for path in ("/health", "/nowhere"):
            assert client.open(path, method=method, headers=EVIL).status_code == 403
    for method in ("GET", "HEAD", "OPTIONS"):
        assert client.open("/health", method=method, headers=EVIL).status_code == 200


def test_our_own_pages_and_listed_ones_may(make_app: AppFactory, database_url: str) -> None:
    client = make_app(database_url, cors_origins=(OURS,)).test_client()
    register(client)
    for origin in ("http://localhost", OURS):
        answer = client.post("/api/auth/login", json=LOGIN, headers={"Origin": origin})
        assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    wrong = LOGIN | {"password": "wrong"}
    answer = client.post("/api/auth/login", json=wrong, headers={"Origin": OURS})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert client.post("/api/auth/login", json=LOGIN, headers=EVIL).status_code == 403
