from __future__ import annotations

from pathlib import Path

from tests.cluster import Cluster


def test_pools_that_exceed_what_postgres_grants_are_warned_of(
    tmp_path: Path, database_url: str
) -> None:
    env = {"DATABASE_URL": database_url, "DATABASE_POOL_MAX": "40"}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        cluster.wait_log(
            "3 workers × DATABASE_POOL_MAX=40 = 120 connections, but Postgres allows 97"
        )


def test_a_database_that_is_away_is_not_the_masters_business(tmp_path: Path) -> None:
    env = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        assert cluster.get("/").status == 200
        assert "Traceback" not in cluster.log
