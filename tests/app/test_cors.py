from __future__ import annotations

from flask.testing import FlaskClient

from tests.app.conftest import AppFactory

OURS = "https://shop.example"


def test_without_origins_there_is_no_cors(make_app: AppFactory) -> None:
    answer = make_app(None).test_client().get("/health", headers={"Origin": OURS})
    assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118 - of pairs


def client(make_app: AppFactory) -> FlaskClient:
    return make_app(None, cors_origins=(OURS, "https://other.example")).test_client()


def test_our_origins_may_read_answers_and_errors(make_app: AppFactory) -> None:
    for path in ("/health", "/nowhere", "/api/auth/me"):
        answer = client(make_app).get(path, headers={"Origin": OURS})
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert set(exposed) == {"X-Request-ID", "X-Worker-ID"}
        assert "Origin" in answer.headers["Vary"]


def test_other_origins_may_not(make_app: AppFactory) -> None:
    for origin in ("https://evil.example", "https://shop.example.evil.example", "null"):
        answer = client(make_app).get("/health", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_who_sends_no_origin_gets_no_list(make_app: AppFactory) -> None:
    assert "Access-Control-Allow-Origin" not in client(make_app).get("/health").headers


def test_a_preflight_is_answered(make_app: AppFactory) -> None:
    answer = client(make_app).options(
        "/api/auth/login",
        headers={
            "Origin": OURS,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "Content-Type",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
