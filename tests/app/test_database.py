from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app.db import Connection, Database, DatabaseUnavailable, reason
from app.db.connection import STATEMENT_SECONDS, libpq_parameters
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import Sql, records_of, run_forking
from tests.wait import wait_until

NOBODY = "postgresql://ada:hunter2@127.0.0.1:1/none"
ROOT = Path(__file__).parents[2]


@contextmanager
def database(url: str | None, *, pool_max: int = 5) -> Iterator[Database]:
    made = Database(url=url, pool_max=pool_max)
    try:
        yield made
    finally:
        made.close()


def backend(connection: Connection) -> int:
    """Asks the server who serves the connection."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    pid: int = row[0]
    return pid


def fill(db: Database, connections: int) -> set[int]:
    """Has the pool hold that many open connections, and returns their backends."""
    together = threading.Barrier(connections, timeout=10)

    def work(connection: Connection) -> int:
        together.wait()
        return backend(connection)

    with ThreadPoolExecutor(connections) as threads:
        calls = [threads.submit(db.run, work) for _ in range(connections)]
        return {call.result() for call in calls}


def test_five_stale_connections_cost_the_next_request_nothing(database_url: str, sql: Sql) -> None:
    with database(database_url) as db:
        stale = fill(db, 5)
        assert len(stale) == 5
        sql("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", list(stale))
        fresh = {db.run(backend, retry=True)}
        started = time.monotonic()
        for _ in range(5):
            db.run(lambda c: c.execute("SELECT 1"))
        assert time.monotonic() - started < 5, "nobody waited 2 s for a stale one"
        assert not fresh & stale


def test_work_that_must_not_be_done_twice_is_not(database_url: str, sql: Sql) -> None:
    calls = 0

    def work(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        sql("SELECT pg_terminate_backend(%s)", backend(connection))
        connection.execute("SELECT 1")

    with database(database_url) as db:
        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            db.run(work)
        assert calls == 1
        assert db.run(lambda c: c.execute("SELECT 1").fetchone()) == (1,), "and the pool is healed"


def test_a_slow_statement_ends_and_its_connection_stays(database_url: str) -> None:
    with database(database_url, pool_max=1) as db:
        first = db.run(backend)
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            # More than it needs: the server's word may be late on a busy machine.
            db.run(lambda c: c.execute("SELECT pg_sleep(30)"), seconds=25)
        assert db.run(backend) == first
    assert (Database.run.__kwdefaults__ or {})["seconds"] > STATEMENT_SECONDS


def test_a_busy_pool_is_told_from_a_database_that_is_away(database_url: str) -> None:
    release, taken = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        taken.set()
        release.wait(10)

    with database(database_url, pool_max=1) as db, ThreadPoolExecutor(1) as thread:
        holder = thread.submit(db.run, hold)
        assert taken.wait(5)
        with pytest.raises(DatabaseUnavailable, match="no connection became free in time"):
            db.run(lambda c: c.execute("SELECT 1"), seconds=0.3)
        release.set()
        holder.result()
        assert db.run(lambda c: c.execute("SELECT 1").fetchone()) == (1,)


def test_a_busy_pool_does_not_bother_the_server(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, taken = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        taken.set()
        release.wait(10)

    def refuse(_: str) -> Connection:
        raise AssertionError("the server was asked for one more connection")

    with database(database_url, pool_max=1) as db, ThreadPoolExecutor(1) as thread:
        db.run(backend)
        monkeypatch.setattr(Connection, "open", refuse)
        holder = thread.submit(db.run, hold)
        assert taken.wait(5)
        with pytest.raises(DatabaseUnavailable, match="no connection became free in time"):
            db.run(backend, seconds=0.1)
        release.set()
        holder.result()


def test_faults_of_ours_are_not_called_an_outage(database_url: str) -> None:
    with database(database_url) as db:
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.run(lambda c: c.execute("SELECT * FROM nowhere"))
        with pytest.raises(ZeroDivisionError):
            db.run(lambda _: 1 // 0)
        assert db.run(lambda c: c.execute("SELECT 1").fetchone()) == (1,)


def test_no_url_is_an_outage() -> None:
    with database(None) as db, pytest.raises(DatabaseUnavailable, match="DATABASE_URL is not set"):
        db.run(lambda c: c.execute("SELECT 1"))


def test_a_frozen_server_is_given_up_in_time(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.start()
    with database(url) as db:
        # Not all that the server lists: one of them may be about to end.
        postmaster = int((own_postgres.data / "postmaster.pid").read_text().splitlines()[0])
        frozen = [postmaster, db.run(backend)]
        for each in frozen:
            os.kill(each, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailable, match="no answer in time"):
                db.run(lambda c: c.execute("SELECT 1"), seconds=1)
            assert time.monotonic() - started < 4, "the call's own deadline, not the default's 5 s"
            started = time.monotonic()
            for _ in range(20):
                with pytest.raises(DatabaseUnavailable):
                    db.run(lambda c: c.execute("SELECT 1"))
            # At most every second one call tries to connect, for 2 s; without the breaker all do.
            assert time.monotonic() - started < 20, "the breaker is open: hardly anybody waits"
        finally:
            for each in frozen:
                os.kill(each, signal.SIGCONT)
        wait_until_back(db)


def test_one_overdue_answer_is_no_outage(database_url: str) -> None:
    taken, answered = threading.Event(), threading.Event()

    def dawdle(connection: Connection) -> None:
        deadline = time.monotonic() + 1
        taken.set()
        assert answered.wait(5)
        while time.monotonic() < deadline:
            time.sleep(0.01)
        connection.execute("SELECT pg_sleep(3)")

    with database(database_url) as db, ThreadPoolExecutor(1) as thread:
        db.run(backend)
        late = thread.submit(db.run, dawdle, seconds=1)
        assert taken.wait(5)
        db.run(backend)
        answered.set()
        with pytest.raises(DatabaseUnavailable, match="no answer in time"):
            late.result()
        db.run(backend)


def wait_until_back(db: Database) -> None:
    def answers() -> bool:
        try:
            db.run(lambda c: c.execute("SELECT 1"))
        except DatabaseUnavailable:
            return False
        return True

    wait_until(answers, what="Postgres to be back")


def test_an_outage_and_its_end_are_two_log_lines(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.start()
    with database(url) as db, records_of("app.db") as records:
        db.run(backend)
        own_postgres.stop()
        for _ in range(20):
            with pytest.raises(DatabaseUnavailable):
                db.run(backend, retry=True)
        own_postgres.start()
        wait_until_back(db)
        lines = [record.getMessage() for record in records]
    assert len(lines) == 2, lines
    assert lines[0].startswith("Postgres is away: ")
    assert lines[1].startswith("Postgres is back after ")


def test_many_threads_in_an_outage_do_not_pile_up() -> None:
    with database(NOBODY) as db, ThreadPoolExecutor(32) as threads:
        started = time.monotonic()
        calls = [threads.submit(db.run, backend) for _ in range(500)]
        errors = {str(call.exception(timeout=10)) for call in calls}
        assert time.monotonic() - started < 10, "500 calls waited for one another"
    assert errors == {"cannot connect: Connection refused"}


def test_the_reason_names_no_address_and_no_password(database_url: str) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        Connection.open(NOBODY)
    assert reason(refused.value) == "cannot connect: Connection refused"
    with pytest.raises(psycopg.OperationalError) as unknown:
        Connection.open(make_conninfo(database_url, dbname="nowhere"))
    assert reason(unknown.value).startswith('cannot connect: FATAL: database "nowhere"')


def test_the_url_overrides_our_settings() -> None:
    assert libpq_parameters("postgresql://db/x")["connect_timeout"] == 2
    assert "connect_timeout" not in libpq_parameters("postgresql://db/x?connect_timeout=9")


def test_a_child_opens_its_own_pool(database_url: str) -> None:
    # In a process of its own: forking this one, with its threads, would prove nothing more.
    code = """
        import os, sys, threading
        from app.db import Database

        db = Database(url=sys.argv[1])
        pid = lambda c: c.execute("SELECT pg_backend_pid()").fetchone()[0]
        mine = db.run(pid)
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                db.run(pid)

        threads = [threading.Thread(target=busy) for _ in range(3)]
        [t.start() for t in threads]
        children = []
        for _ in range(10):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                theirs = {db.run(pid) for _ in range(3)}
                db.close()
                os.write(write, " ".join(map(str, theirs)).encode())
                sys.exit(0)
            os.close(write)
            children.append((child, read))
        stop.set()
        [t.join() for t in threads]
        seen = set()
        for child, read in children:
            assert os.waitpid(child, 0)[1] == 0
            theirs = {int(word) for word in os.read(read, 1000).split()}
            assert theirs and mine not in theirs and not theirs & seen, (mine, theirs, seen)
            seen |= theirs
        assert db.run(lambda c: c.execute("SELECT 1").fetchone()) == (1,)
        print("ok")
    """
    run_forking(code, database_url)


def test_a_process_with_an_open_pool_ends_at_once(database_url: str) -> None:
    code = (
        "import sys, time; from app.db import Database; db = Database(url=sys.argv[1]);"
        "db.run(lambda c: c.execute('SELECT 1')); print(time.monotonic())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, database_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    ended = time.monotonic()  # one clock for all processes
    assert (done.returncode, done.stderr) == (0, "")
    assert ended - float(done.stdout) < 5, "it waited for the pool's threads"
