"""Issuance and payments on a real cluster: many ask at once, one worker decides, all know."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.cluster import Answer, Cluster
from tests.wait import wait_until

TOKEN = "the internal token of a test"
WORKERS = {"worker-1", "worker-2", "worker-3"}


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    env = {"DATABASE_URL": database_url, "INTERNAL_TOKEN": TOKEN}
    with Cluster(tmp_path, "--chdir", str(Path.cwd()), env=env) as cluster:
        yield cluster


def credential(serial: object) -> dict[str, Any]:
    return {"type": "Diploma", "serial": serial, "holder": {"name": "Ada", "age": 36}}


def payment(provider_payment_id: str, course_id: str = "c-1") -> dict[str, Any]:
    ids = {"provider_payment_id": provider_payment_id, "student_id": "s-7", "course_id": course_id}
    return {**ids, "amount": 99.9}


def at_once(cluster: Cluster, times: int, path: str, body: object) -> list[Answer]:
    """So many times the same request, each on a connection of its own, as nearly at once as can be.

    A refusal for want of a connection in time (503) is asked again: this machine may be slow.
    """
    together = threading.Barrier(times, timeout=20)

    def ask(_: int) -> Answer:
        together.wait()

        def answered() -> Answer | None:
            answer = cluster.request("POST", path, body=body, timeout=30)
            return None if answer.status == 503 else answer

        answer = wait_until(answered, what=f"an answer to {path}")
        assert answer is not None
        return answer

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(ask, range(times)))


def until_every_worker_took_part(one_round: Callable[[int], list[Answer]]) -> None:
    """Rounds of requests until each worker has answered one of them."""
    seen: set[str] = set()
    rounds = iter(range(1000))

    def all_seen() -> bool:
        seen.update(answer.headers["X-Worker-ID"] for answer in one_round(next(rounds)))
        return seen == WORKERS

    wait_until(all_seen, what="answers of all three workers", seconds=60)


def test_of_thirty_identical_issues_at_once_one_is_the_first(served: Cluster) -> None:
    def one_round(number: int) -> list[Answer]:
        answers = at_once(served, 30, "/api/issue", credential(number))
        assert sorted(answer.status for answer in answers) == [200] * 29 + [201]
        facts = answers[0].json
        assert [answer.json for answer in answers] == [facts] * 30
        (first,) = (answer for answer in answers if answer.status == 201)
        assert facts["issued_by"] == first.headers["X-Worker-ID"]
        assert facts["issued_by"] in WORKERS
        return answers

    until_every_worker_took_part(one_round)


def test_every_worker_knows_what_one_issued(served: Cluster) -> None:
    first = served.request("POST", "/api/issue", body=credential("x"))
    assert first.status == 201
    facts = first.json
    path = f"/internal/credentials/{facts['id']}"
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def one_round(number: int) -> list[Answer]:
        again = served.request("POST", "/api/issue", body=credential("x"))
        assert (again.status, again.json) == (200, facts)
        read = served.get(path, headers=headers)
        assert (read.status, read.json) == (200, {**facts, "credential": credential("x")})
        refused = served.get(path, headers={"Authorization": f"Bearer wrong-{number}"})
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        return [again]

    until_every_worker_took_part(one_round)
    assert TOKEN not in served.log


def test_a_credential_outlives_postgres_and_the_cluster(
    tmp_path: Path, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    arguments = ("--chdir", str(Path.cwd()))
    with Cluster(tmp_path / "first", *arguments, env={"DATABASE_URL": url}) as cluster:
        first = cluster.request("POST", "/api/issue", body=credential("x"))
        assert first.status == 201
        own_postgres.stop()
        away = cluster.request("POST", "/api/issue", body=credential("x"))
        assert (away.status, away.json["error"]["code"]) == (503, "database_unavailable")
        away = cluster.request("POST", "/api/payments/confirm", body=payment("p"))
        assert (away.status, away.json["error"]["code"]) == (503, "database_unavailable")
        own_postgres.start()
        (again, *_) = at_once(cluster, 1, "/api/issue", credential("x"))
        assert (again.status, again.json) == (200, first.json)
    with Cluster(tmp_path / "second", *arguments, env={"DATABASE_URL": url}) as cluster:
        (again, *_) = at_once(cluster, 1, "/api/issue", credential("x"))
        assert (again.status, again.json) == (200, first.json)


def test_of_twenty_confirmations_at_once_one_is_stored(served: Cluster, database_url: str) -> None:
    events: dict[str, str] = {}  # by payment

    def one_round(number: int) -> list[Answer]:
        answers = at_once(served, 20, "/api/payments/confirm", payment(f"pay-{number}"))
        assert {answer.status for answer in answers} == {202}
        ids = answers[0].json
        assert [answer.json for answer in answers] == [ids] * 20
        events[f"pay-{number}"] = ids["event_id"]
        return answers

    until_every_worker_took_part(one_round)
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT provider_payment_id, event_id::text FROM payment")
        assert sorted(stored) == sorted(events.items())
        written = connection.execute("SELECT event_id::text FROM outbox")
        assert sorted(event_id for (event_id,) in written) == sorted(events.values())


def test_two_courses_confirmed_on_any_worker_share_a_correlation_id(served: Cluster) -> None:
    provider_payment_id = str(uuid.uuid4())

    def one_round(number: int) -> list[Answer]:
        body = payment(provider_payment_id, f"c-{number}")
        return [served.request("POST", "/api/payments/confirm", body=body)]

    answers: list[Answer] = []

    def remembered(number: int) -> list[Answer]:
        answers.extend(one_round(number))
        return answers

    until_every_worker_took_part(remembered)
    assert len({answer.json["correlation_id"] for answer in answers}) == 1
    assert len({answer.json["event_id"] for answer in answers}) == len(answers)
