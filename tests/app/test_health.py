from __future__ import annotations

import os
import re
import time

from flask.testing import FlaskClient

from app.db import migrations
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import AppFactory, Sql, records_of
from tests.wait import wait_until

NOBODY = "postgresql://ada:hunter2@127.0.0.1:1/none"


def wait_until_ready(client: FlaskClient) -> None:
    wait_until(lambda: client.get("/health/ready").status_code == 200, what="readiness")


def test_health_tells_who_answers(client: FlaskClient) -> None:
    for path in ("/health", "/api/health"):
        answer = client.get(path)
        facts = answer.get_json()
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts.pop("timestamp"))
        assert facts.pop("uptime") > 0
        assert facts == {
            "status": "ok",
            "success": True,
            "message": "Smart Factory is running",
            "worker": f"pid-{os.getpid()}",
            "pid": os.getpid(),
        }


def test_ready_checks_postgres_and_migrates(client: FlaskClient, sql: Sql) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ready", "checks": {"postgres": "ok"}}
    assert answer.headers["Cache-Control"] == "no-store"
    assert sql("SELECT max(version) FROM schema_migration") == [(len(migrations.read()),)]


def test_production_does_not_migrate(make_app: AppFactory, database_url: str, sql: Sql) -> None:
    client = make_app(database_url, env="production").test_client()
    assert client.get("/health/ready").status_code == 200
    assert sql("SELECT to_regclass('schema_migration')") == [(None,)]


def test_ready_names_the_failing_check(make_app: AppFactory) -> None:
    client = make_app(NOBODY).test_client()
    answer = client.get("/health/ready")
    facts = answer.get_json()
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert facts["status"] == "unavailable"
    assert facts["checks"] == {"postgres": "cannot connect: Connection refused"}
    assert facts["error"]["code"] == "not_ready"
    assert facts["error"]["message"] == "postgres: cannot connect: Connection refused"
    assert facts["error"]["request_id"] == answer.headers["X-Request-ID"]


def test_ready_says_when_there_is_no_database(make_app: AppFactory) -> None:
    answer = make_app(None).test_client().get("/health/ready")
    assert answer.status_code == 503
    assert answer.get_json()["checks"] == {"postgres": "DATABASE_URL is not set"}


def test_ready_says_when_the_schema_cannot_be_migrated(
    make_app: AppFactory, database_url: str, sql: Sql
) -> None:
    make_app(database_url).test_client().get("/health/ready")
    sql("UPDATE schema_migration SET checksum = 'another' WHERE version = 1")
    answer = make_app(database_url).test_client().get("/health/ready")
    assert answer.status_code == 503
    why = "migrations: 0001_web_session was changed after it was applied"
    assert answer.get_json()["checks"]["postgres"].startswith(why)


def test_live_and_health_do_without_postgres(make_app: AppFactory) -> None:
    client = make_app(NOBODY).test_client()
    assert client.get("/health/live").get_json() == {"status": "ok"}
    assert client.get("/health").status_code == 200
    assert client.get("/api/status").status_code == 200


def test_an_outage_is_answered_quickly_and_logged_once(make_app: AppFactory) -> None:
    client = make_app(NOBODY).test_client()
    with records_of("app") as ours, records_of("psycopg") as theirs:
        started = time.monotonic()
        answers = [client.get("/health/ready").status_code for _ in range(50)]
        assert time.monotonic() - started < 10, "50 answers took as many attempts"
    assert set(answers) == {503}
    assert [record.getMessage() for record in ours] == [
        "Postgres is away: cannot connect: Connection refused"
    ]
    assert theirs == []


def test_a_database_away_at_boot_is_used_and_migrated_when_it_comes(
    make_app: AppFactory, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    own_postgres.stop()
    client = make_app(url).test_client()
    assert client.get("/health/ready").status_code == 503

    own_postgres.start()
    wait_until_ready(client)
    answer = client.post(
        "/api/auth/register", json={"email": "a@example.com", "password": "correct horse"}
    )
    assert answer.status_code == 201


def test_readiness_follows_postgres_without_a_restart(
    make_app: AppFactory, own_postgres: EmbeddedPostgres
) -> None:
    client = make_app(own_postgres.start()).test_client()
    assert client.get("/health/ready").status_code == 200

    own_postgres.stop()
    started = time.monotonic()
    assert client.get("/health/ready").status_code == 503
    assert time.monotonic() - started < 10

    own_postgres.start()
    wait_until_ready(client)
