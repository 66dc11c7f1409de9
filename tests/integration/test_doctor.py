"""`doctor` on a real cluster with a real Postgres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.cluster import ROOT, Cluster
from tests.wait import wait_until

PROGRAM = "from deploy.ops.doctor import command; command(prog_name='smart-factory doctor')"


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    """Our own application, its schema up to date."""
    env = {"DATABASE_URL": database_url, "SECRET_KEY": "s" * 32}
    with Cluster(tmp_path, "--chdir", str(ROOT), env=env) as cluster:
        yield cluster


def doctor(cluster: Cluster, *words: str, **env: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings by name."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--json", *words],
        cwd=ROOT,
        env=cluster._env | env,  # noqa: SLF001
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_cluster_that_serves_is_in_order(served: Cluster) -> None:
    code, found = doctor(served)
    failed = [check for check in found.values() if check["verdict"] == "fail"]
    assert (code, failed) == (0, [])
    address = f"127.0.0.1:{served.port}"
    assert found["cluster"]["detail"] == f"3 of 3 workers ready, cluster, {address}"
    holder = found["address"]["detail"].removeprefix(f"{address}: ours, pid ")
    assert int(holder) in {served.pid, *(process.pid for process in served.processes)}
    assert found["database"]["detail"].startswith("PostgreSQL 18")
    assert "(3 workers + 1) × 7 + 3 = 31 connections" in found["connections"]["detail"]
    assert found["migrations"]["verdict"] == "ok"
    assert found["clock"]["detail"].endswith("from the database's")
    assert found["files"]["detail"].partition(" (")[2].startswith("the master), at most ")
    assert found["memory"]["detail"].startswith("the workers use ")
    assert found["crashes"]["detail"] == "no worker has died"
    assert found["memory-trend"]["detail"] == "tells when workers have been up for 1h 0m"


def test_a_killed_worker_is_a_crash_that_is_told(served: Cluster) -> None:
    pid = served.slot(2)["pid"]
    os.kill(pid, 9)
    served.wait_log("Replacement worker 2 (worker-2) is ready")
    code, found = doctor(served, "--only", "crashes,cluster")
    assert (code, found["crashes"]["verdict"], found["cluster"]["verdict"]) == (0, "warn", "ok")
    assert "1 in 24 hours" in found["crashes"]["detail"]
    assert "worker-2 (signal SIGKILL)" in found["crashes"]["detail"]


def test_an_address_that_the_service_does_not_listen_at_is_told(served: Cluster) -> None:
    code, found = doctor(served, "--only", "address", PORT="1")
    assert (code, found["address"]["verdict"]) == (1, "fail")
    assert "127.0.0.1:1: nobody listens, though the service runs" in found["address"]["detail"]


def test_pending_migrations_are_a_failure(served: Cluster, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM schema_migration WHERE version = 6")
    code, found = doctor(served, "--only", "migrations")
    assert (code, found["migrations"]["detail"]) == (1, "pending: 0006_payment")


def test_connections_that_others_use_count_ours_do_not(served: Cluster, database_url: str) -> None:
    def others() -> int:
        _, found = doctor(served, "--only", "connections")
        return int(found["connections"]["detail"].rpartition("others use ")[2])

    before = others()
    with psycopg.connect(database_url), psycopg.connect(database_url):
        wait_until(lambda: others() == before + 2, what="two more")
    with psycopg.connect(database_url, application_name="smart-factory"):
        wait_until(lambda: others() == before, what="the former connections to be gone")
    code, found = doctor(served, "--only", "connections", DATABASE_POOL_MAX="100")
    assert (code, found["connections"]["verdict"]) == (0, "warn")


def test_a_database_that_is_away_fails_once_and_is_named(
    tmp_path: Path, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    cluster = Cluster(tmp_path / "cluster", "--chdir", str(ROOT), env={"DATABASE_URL": url})
    with cluster:
        own_postgres.stop()
        code, found = doctor(cluster, "--only", "postgres")
    assert code == 1
    assert [name for name, check in found.items() if check["verdict"] == "fail"] == ["database"]
    assert "onnection" in found["database"]["detail"]
    assert found["migrations"]["detail"] == "the database does not answer: see `database`"


def test_a_service_that_has_stopped_fails_in_production_only(cluster: Cluster) -> None:
    cluster.stop()
    code, found = doctor(cluster, "--only", "service", APP_ENV="production")
    assert (code, found["cluster"]["verdict"], found["address"]["verdict"]) == (1, "fail", "ok")
    code, found = doctor(cluster, "--only", "service")
    assert (code, found["cluster"]["verdict"]) == (0, "skipped")
