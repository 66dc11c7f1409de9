"""The limits of failed logins on a real cluster: no worker lets through what another refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.cluster import Answer, Cluster

USER = {"email": "ada@example.org", "password": "correct horse battery"}


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    env = {"DATABASE_URL": database_url}
    with Cluster(tmp_path, "--chdir", str(Path.cwd()), env=env) as cluster:
        yield cluster


def at_once(cluster: Cluster, emails: list[str]) -> list[Answer]:
    """One wrong login for each, all of them at once."""

    def one(email: str) -> Answer:
        fields = {"email": email, "password": "wrong"}
        return cluster.request("POST", "/api/auth/login", body=fields, timeout=60)

    with ThreadPoolExecutor(len(emails)) as threads:
        return list(threads.map(one, emails))


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def test_forty_wrong_passwords_at_once_are_ten_attempts(served: Cluster, database_url: str) -> None:
    assert served.request("POST", "/api/auth/register", body=USER).status == 201
    answers = at_once(served, [USER["email"]] * 40)
    assert statuses(answers) == {401: 10, 429: 30}
    assert len({answer.headers["X-Worker-ID"] for answer in answers}) > 1
    for answer in answers:
        if answer.status == 429:
            assert answer.json["error"]["code"] == "too_many_requests"
            assert 800 <= int(answer.headers["Retry-After"]) <= 900

    for _ in range(5):  # the right password, on whichever worker
        assert served.request("POST", "/api/auth/login", body=USER).status == 429
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE login_attempt SET ends_at = now()")
    for _ in range(5):
        assert served.request("POST", "/api/auth/login", body=USER).status == 200


def test_sixty_unknown_users_at_once_are_fifty_attempts(served: Cluster) -> None:
    answers = at_once(served, [f"nobody-{number}@example.org" for number in range(60)])
    assert statuses(answers) == {401: 50, 429: 10}
    # of this address anybody: also who has done nothing
    assert served.request("POST", "/api/auth/register", body=USER).status == 201
    assert served.request("POST", "/api/auth/login", body=USER).status == 429
