from __future__ import annotations

import logging
import re

import pytest
from flask import Flask

from tests.app.conftest import AppFactory, records_of


@pytest.fixture
def plain(make_app: AppFactory) -> Flask:
    """Without a database: nothing here needs one."""
    app = make_app(None)

    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError

    @app.get("/logs")
    def logs() -> str:
        logging.getLogger("app.test").warning("seen")
        return "ok"

    return app


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 200), ("/nowhere", 404), ("/fails", 500), ("/logs", 200)]
)
def test_every_answer_names_request_and_worker(
    plain: Flask, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    monkeypatch.setenv("WORKER_ID", "worker-3")
    answer = plain.test_client().get(path)
    assert answer.status_code == status
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert answer.headers["X-Worker-ID"] == "worker-3"


def test_each_request_has_its_own_id(plain: Flask) -> None:
    client = plain.test_client()
    with plain.app_context():  # shared by the requests, as it may be: the id must not be
        ids = {client.get("/health").headers["X-Request-ID"] for _ in range(10)}
    assert len(ids) == 10


@pytest.mark.parametrize("sent", ["a", "A-b_c.9", "x" * 128])
def test_a_sane_id_is_kept(plain: Flask, sent: str) -> None:
    answer = plain.test_client().get("/nowhere", headers={"X-Request-ID": sent})
    assert answer.headers["X-Request-ID"] == sent
    assert answer.get_json()["error"]["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "<script>", "a\tb", "é", "a%0d%0ab"])
def test_any_other_id_is_replaced(plain: Flask, sent: str) -> None:
    answer = plain.test_client().get("/health", headers={"X-Request-ID": sent})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_log_records_carry_the_request_id(plain: Flask) -> None:
    with records_of("app.test") as records:
        plain.test_client().get("/logs", headers={"X-Request-ID": "one"})
        logging.getLogger("app.test").warning("outside")
    assert [getattr(record, "request_id", None) for record in records] == ["one", None]
