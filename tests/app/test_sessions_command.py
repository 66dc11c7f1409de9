"""`python -m app.sessions`, as an operator or a timer runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from app.db import Connection, migrations
from tests.app.conftest import Sql
from tests.app.test_migrations import ROOT, environ


def command(*words: str, url: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "app.sessions", *words],
        env=environ(url),
        cwd=ROOT / "tests",  # without the checkout's .env; -P: not tests/app, either
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def url(database_url: str) -> str:
    with Connection.open(database_url) as connection:
        migrations.apply(connection, migrations.read())
    return database_url


def fill(sql: Sql, *, over: int, live: int) -> None:
    """Sessions of the user ada."""
    sql(
        """
        INSERT INTO web_session (sid_hash, user_id, data, expires_at, absolute_at)
        SELECT sha256(n::text::bytea), 'ada', '',
               now() + CASE WHEN n <= %s THEN '-1 s' ELSE '1 h' END::interval,
               now() + interval '2 h'
        FROM generate_series(1, %s) AS n
        """,
        over,
        over + live,
    )


def test_prune_deletes_what_is_over_and_says_how_much(url: str, sql: Sql) -> None:
    fill(sql, over=25, live=3)
    sql(
        """
        INSERT INTO login_attempt
        VALUES (sha256('a'), '{}', now()), (sha256('b'), '{}', now() + interval '1 h')
        """
    )
    done = command("prune", "--batch", "10", url=url)
    expected = "25 session(s) and 1 login limit(s) deleted\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    assert sql("SELECT count(*) FROM web_session") == [(3,)]
    done = command("prune", "--json", url=url)
    assert json.loads(done.stdout) == {"pruned": 0, "another_prunes": False, "login_limits": 0}


def test_two_prunes_at_once_both_succeed_and_delete_all(url: str, sql: Sql) -> None:
    fill(sql, over=5000, live=1)
    words = [sys.executable, "-m", "app.sessions", "prune", "--batch", "20", "--json"]
    both = [subprocess.Popen(words, env=environ(url), stdout=subprocess.PIPE) for _ in range(2)]
    facts = []
    for each in both:
        stdout, _ = each.communicate(timeout=60)
        assert each.returncode == 0
        facts.append(json.loads(stdout))
    assert sum(fact["pruned"] for fact in facts) == 5000
    assert sql("SELECT count(*) FROM web_session") == [(1,)]


def test_revoke_ends_the_sessions_of_one_user(url: str, sql: Sql) -> None:
    fill(sql, over=0, live=4)
    assert command("revoke", "nobody", url=url).stdout == "0 session(s) ended\n"
    assert json.loads(command("revoke", "ada", "--json", url=url).stdout) == {"ended": 4}
    assert sql("SELECT count(*) FROM web_session") == [(0,)]


def test_a_database_that_is_away_is_one_line_and_exit_1() -> None:
    done = command("prune", url="postgresql://ada:hunter2@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr == "Error: Postgres is away: cannot connect: Connection refused\n"


def test_a_schema_that_is_not_there_is_one_line_and_exit_1(database_url: str) -> None:
    done = command("prune", url=database_url)
    assert done.returncode == 1
    assert done.stderr.startswith('Error: Postgres refused: relation "web_session" does not exist')
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("prune", "--batch", "0"), "--batch"),
        (("revoke",), "USER_ID"),
        (("sweep",), "sweep"),
    ],
)
def test_wrong_usage_is_exit_2(words: tuple[str, ...], why: str) -> None:
    done = command(*words, url="postgresql://127.0.0.1:1/none")
    assert done.returncode == 2
    assert why in done.stderr


def test_without_a_url_it_says_what_to_do() -> None:
    done = command("prune", url=None)
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr
    assert "embedded_postgres -- python -m app.sessions" in done.stderr


def test_prune_does_without_the_tables_of_our_application(database_url: str, sql: Sql) -> None:
    sql((ROOT / "app" / "schema" / "0001_web_session.sql").read_text())
    fill(sql, over=2, live=1)
    done = command("prune", url=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert sql("SELECT count(*) FROM web_session") == [(1,)]
