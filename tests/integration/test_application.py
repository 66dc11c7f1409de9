"""Our own application on a real cluster: no worker knows what another does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.cluster import Answer, Cluster
from tests.wait import wait_until

USER = {"email": "ada@example.org", "password": "correct horse battery"}


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    env = {"DATABASE_URL": database_url, "LOG_LEVEL": "debug"}
    with Cluster(tmp_path, "--chdir", str(Path.cwd()), env=env) as cluster:
        yield cluster


def ask_another(cluster: Cluster, seen: set[str], method: str, path: str, **rest: object) -> Answer:
    """Asks until a worker that is not in `seen` answers; adds it."""

    def answered() -> Answer | None:
        answer = cluster.request(method, path, **rest)  # type: ignore[arg-type] # as given
        return None if answer.headers["X-Worker-ID"] in seen else answer

    answer = wait_until(answered, what=f"an answer of a worker other than {seen}")
    assert answer is not None
    seen.add(answer.headers["X-Worker-ID"])
    return answer


def test_login_on_one_worker_me_on_another_logout_on_a_third(served: Cluster) -> None:
    assert served.request("POST", "/api/auth/register", body=USER).status == 201
    assert served.request("POST", "/api/auth/register", body=USER).status == 409

    workers: set[str] = set()
    login = ask_another(served, workers, "POST", "/api/auth/login", body=USER)
    assert login.status == 200
    cookie = login.headers["Set-Cookie"].partition(";")[0]
    headers = {"Cookie": cookie}

    me = ask_another(served, workers, "GET", "/api/auth/me", headers=headers)
    assert (me.status, me.json["user"]["email"]) == (200, USER["email"])
    logout = ask_another(served, workers, "POST", "/api/auth/logout", headers=headers)
    assert logout.status == 200
    assert workers == {"worker-1", "worker-2", "worker-3"}

    for _ in range(10):  # on whichever worker
        assert served.get("/api/auth/me", headers=headers).status == 401
    for secret in (USER["password"], cookie.partition("=")[2]):
        assert secret not in served.log


def test_every_answer_says_who_gave_it_and_the_log_knows_its_id(served: Cluster) -> None:
    for path, status in (("/health", 200), ("/api/status", 200), ("/nowhere", 404)):
        answer = served.get(path, headers={"X-Request-ID": f"test-{status}"})
        assert answer.status == status
        assert answer.headers["X-Request-ID"] == f"test-{status}"
        assert answer.headers["X-Worker-ID"] in served.pids()
    wait_until(lambda: served.lines(r"GET /nowhere 404 .* test-404$"), what="the access line")
    status = served.get("/api/status").json
    assert (status["mode"], status["workers"], status["environment"]) == ("cluster", 3, "test")


def test_boot_goes_on_without_postgres_and_readiness_follows_it(
    tmp_path: Path, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.start()
    own_postgres.stop()
    env = {"DATABASE_URL": url, "CLUSTER_WORKERS": "2"}
    with Cluster(tmp_path, "--chdir", str(Path.cwd()), env=env) as cluster:
        assert cluster.get("/health/live").status == 200
        ready = cluster.get("/health/ready")
        assert ready.status == 503
        assert "postgres" in ready.json["checks"]
        assert cluster.request("POST", "/api/auth/login", body=USER).status == 503
        before = cluster.pids()

        own_postgres.start()
        ready_workers: set[str] = set()

        def all_ready() -> bool:  # each finds out for itself that Postgres is back
            ready = cluster.get("/health/ready")
            if ready.status == 200:
                ready_workers.add(ready.headers["X-Worker-ID"])
            return ready_workers == before.keys()

        wait_until(all_ready, what="readiness of every worker")
        assert cluster.request("POST", "/api/auth/register", body=USER).status == 201
        assert cluster.pids() == before
