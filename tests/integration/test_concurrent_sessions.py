"""Sessions under concurrency: real workers, real Postgres, an application that is not ours."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from app.sessions import token
from tests.cluster import Cluster
from tests.integration.visitor import Held, Visitor
from tests.wait import wait_until

NAME = "sessions_under_concurrency"
_gates = itertools.count(1)


@pytest.fixture(scope="module")
def url(postgres_url: str) -> Iterator[str]:
    """A database for all tests of this file: each looks at its own sessions only."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
    yield conninfo.make_conninfo(postgres_url, dbname=NAME)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NAME)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("visits")
    with Cluster(directory, app="visits:app", env={"DATABASE_URL": url}) as cluster:
        yield cluster


@pytest.fixture
def db(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def visitor(served: Cluster) -> Visitor:
    """One with a session that holds {"old": 1}."""
    visitor = Visitor(served)
    visitor.post("/set", {"old": 1})
    assert visitor.token
    return visitor


@pytest.fixture
def gate(tmp_path: Path) -> Callable[[], Path]:
    return lambda: tmp_path / f"gate-{next(_gates)}"


def alive(db: psycopg.Connection[Any], *tokens: str | None) -> int:
    """How many of the tokens name a row."""
    hashes = [token.digest(each) for each in tokens if each]
    found = db.execute("SELECT count(*) FROM web_session WHERE sid_hash = ANY(%s)", [hashes])
    row = found.fetchone()
    assert row is not None
    return int(row[0])


def at_once(clients: int, work: Callable[[int], Any]) -> None:
    """Calls work(0…) on so many threads; an exception of one is raised here."""
    failures: list[BaseException] = []
    start = threading.Barrier(clients)

    def run(number: int) -> None:
        try:
            start.wait(20)
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a client is still waiting"
    if failures:
        raise failures[0]


@contextmanager
def locked(url: str, sid: str | None) -> Iterator[None]:
    """Holds the session's row, so that whoever would change it waits."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT 1 FROM web_session WHERE sid_hash = %s FOR UPDATE", [token.digest(sid or "")]
        )
        yield


def wait_for_waiting(db: psycopg.Connection[Any], count: int) -> None:
    """Until so many statements wait for a lock."""
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()
    """

    def waiting() -> bool:
        row = db.execute(query).fetchone()
        return row is not None and row[0] == count

    wait_until(waiting, what=f"{count} statement(s) that wait for the row")


def test_no_increment_of_one_counter_is_lost(visitor: Visitor) -> None:
    workers = set()

    def client(_: int) -> None:
        twin = visitor.twin()
        for _ in range(25):
            workers.add(twin.post("/count/n").headers["X-Worker-ID"])

    at_once(8, client)
    assert visitor.read() == {"old": 1, "n": 200}
    assert workers == {"worker-1", "worker-2", "worker-3"}


def test_no_distinct_key_is_lost(visitor: Visitor) -> None:
    def client(number: int) -> None:
        twin = visitor.twin()
        for each in range(25):
            twin.post("/set", {f"{number}-{each}": each})

    at_once(8, client)
    assert len(visitor.read()) == 201


def test_no_list_item_is_lost_though_equal_and_from_the_first(visitor: Visitor) -> None:
    at_once(80, lambda number: visitor.twin().post(f"/append/items/{number % 4}"))
    items = visitor.read()["items"]
    assert isinstance(items, list)
    assert sorted(items) == sorted(str(number % 4) for number in range(80))


def test_a_delete_and_a_set_of_another_key_both_hold(
    visitor: Visitor, gate: Callable[[], Path]
) -> None:
    visitor.post("/set", {"a": 1})
    held = Held(visitor, "POST", "/delete/a", gate())
    visitor.twin().post("/set", {"b": 1})
    assert held.finish().status == 200
    assert visitor.read() == {"old": 1, "b": 1}


def test_a_set_that_is_slower_than_a_delete_does_not_bring_the_key_back(
    visitor: Visitor, gate: Callable[[], Path]
) -> None:
    held = Held(visitor, "POST", "/set", gate(), {"b": 1})
    visitor.twin().post("/delete/old")
    assert held.finish().status == 200
    assert visitor.read() == {"b": 1}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/read"), ("POST", "/count/n"), ("POST", "/append/items/x")]
)
def test_a_logout_wins_over_a_slow_request(
    visitor: Visitor, db: psycopg.Connection[Any], gate: Callable[[], Path], method: str, path: str
) -> None:
    held = Held(visitor, method, path, gate())
    visitor.twin().post("/logout")
    answer = held.finish()
    assert answer.status == 200
    assert "Set-Cookie" not in answer.headers
    assert alive(db, visitor.token) == 0


def test_a_logout_wins_over_a_slow_touch(
    visitor: Visitor, url: str, db: psycopg.Connection[Any], gate: Callable[[], Path]
) -> None:
    sid = token.digest(visitor.token or "")
    older = "UPDATE web_session SET expires_at = now() + interval '5 min' WHERE sid_hash = %s"
    db.execute(older, [sid])
    held = Held(visitor, "GET", "/read", gate())
    logout = Held(visitor, "POST", "/logout", gate())
    with locked(url, visitor.token):
        held.release()
        wait_for_waiting(db, 1)
        logout.release()
        wait_for_waiting(db, 2)
    assert held.answer().status == logout.answer().status == 200
    assert "Set-Cookie" not in held.answer().headers
    assert alive(db, visitor.token) == 0


def test_a_logout_wins_over_a_merge_that_holds_the_row(
    visitor: Visitor, url: str, db: psycopg.Connection[Any], gate: Callable[[], Path]
) -> None:
    slow = Held(visitor, "POST", "/count/n", gate())
    logout = Held(visitor, "POST", "/logout", gate())
    visitor.twin().post("/count/n")  # so that the slow one has to merge
    with locked(url, visitor.token):
        slow.release()
        wait_for_waiting(db, 1)
        logout.release()
        wait_for_waiting(db, 2)
    assert slow.answer().status == logout.answer().status == 200
    assert alive(db, visitor.token) == 0
    assert visitor.twin().read() == {}


def test_a_slow_write_during_a_login_revives_no_token_and_harms_none(
    visitor: Visitor, db: psycopg.Connection[Any], gate: Callable[[], Path]
) -> None:
    old = visitor.token
    slow = Held(visitor, "POST", "/count/n", gate())
    visitor.post("/login/ada")
    assert visitor.token not in (None, old)
    answer = slow.finish()
    assert answer.status == 200
    assert "Set-Cookie" not in answer.headers
    assert visitor.read() == {"old": 1, "user_id": "ada"}
    assert alive(db, old) == 0
    assert slow.visitor.read() == {}, "the old token is anonymous"


def test_a_slow_login_keeps_what_was_written_meanwhile(
    visitor: Visitor, gate: Callable[[], Path]
) -> None:
    login = Held(visitor, "POST", "/login/ada", gate())
    visitor.twin().post("/count/n")
    assert login.finish().status == 200
    assert login.visitor.read() == {"old": 1, "n": 1, "user_id": "ada"}
    assert visitor.read() == {}


@pytest.mark.parametrize("first", ["login", "logout"])
def test_a_login_and_a_logout_that_overlap_leave_no_session(
    visitor: Visitor,
    url: str,
    db: psycopg.Connection[Any],
    gate: Callable[[], Path],
    first: str,
) -> None:
    held = {
        "login": Held(visitor, "POST", "/login/ada", gate()),
        "logout": Held(visitor, "POST", "/logout", gate()),
    }
    order = [held.pop(first), *held.values()]
    with locked(url, visitor.token):
        for waiting, each in enumerate(order, start=1):
            each.release()
            wait_for_waiting(db, waiting)
    answers = [each.answer() for each in order]
    # A login that finds its session gone must not be called one.
    expected = [200, 200] if first == "login" else [200, 409]
    assert [answer.status for answer in answers] == expected
    assert alive(db, visitor.token, *(each.visitor.token for each in order)) == 0
    for each in order:
        assert each.visitor.read() == {}


def test_two_logins_at_once_leave_one_session(
    visitor: Visitor, db: psycopg.Connection[Any], gate: Callable[[], Path]
) -> None:
    ada = Held(visitor, "POST", "/login/ada", gate())
    bob = Held(visitor, "POST", "/login/bob", gate())
    assert ada.finish().status == 200
    assert bob.finish().status == 409
    assert "Set-Cookie" not in bob.answer().headers
    assert alive(db, visitor.token, ada.visitor.token, bob.visitor.token) == 1
    assert ada.visitor.read() == {"old": 1, "user_id": "ada"}


def test_a_worker_killed_in_mid_request_leaves_the_data_as_it_was(
    visitor: Visitor, gate: Callable[[], Path], served: Cluster
) -> None:
    visitor.post("/count/n")
    replaced = served.log.count("Replacement worker")

    def cut_off() -> None:
        with pytest.raises((ConnectionError, OSError)):
            visitor.twin().send("POST", f"/count/n?gate={path}")

    path = gate()
    thread = threading.Thread(target=cut_off, daemon=True)
    thread.start()
    wait_until(lambda: path.exists() and path.read_text(), what="the request at its gate")
    os.kill(int(path.read_text()), signal.SIGKILL)
    thread.join(20)
    assert not thread.is_alive()
    assert visitor.read() == {"old": 1, "n": 1}
    served.wait_log("Replacement worker", times=replaced + 1)


def test_a_thousand_requests_without_a_cookie_leave_no_row(
    served: Cluster, db: psycopg.Connection[Any]
) -> None:
    newest = "SELECT coalesce(max(id), 0) FROM web_session"
    before = db.execute(newest).fetchone()

    def client(_: int) -> None:
        for _ in range(250):
            answer = Visitor(served).send("GET", "/read")
            assert answer.status == 200
            assert "Set-Cookie" not in answer.headers

    at_once(4, client)
    assert db.execute(newest).fetchone() == before


def test_nothing_in_the_table_is_good_for_a_cookie(
    visitor: Visitor, served: Cluster, db: psycopg.Connection[Any]
) -> None:
    visitor.post("/login/ada")
    row = db.execute(
        """
        SELECT id::text, encode(sid_hash, 'hex'), encode(sid_hash, 'base64'),
               translate(encode(sid_hash, 'base64'), '+/=', '-_'), user_id, encode(data, 'base64')
        FROM web_session WHERE sid_hash = %s
        """,
        [token.digest(visitor.token or "")],
    ).fetchone()
    assert row is not None
    for contents in row:
        assert Visitor(served, contents.strip()).read() == {}
    assert visitor.read()["user_id"] == "ada"
