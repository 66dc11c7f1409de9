"""The statements against real Postgres, and what becomes of one whose answer is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql as composed

from app.db import Connection, Database, DatabaseUnavailable, Statement, Value, migrations
from app.sessions import SessionStore, codec, token
from app.sessions.store import Login, Row
from tests.app.conftest import Sql

Merge = Callable[[bytes], bytes]


@pytest.fixture
def store(database_url: str) -> Iterator[SessionStore]:
    with Connection.open(database_url) as connection:
        migrations.apply(connection, migrations.read())
        # As every server has it but the tests'.
        database_name = composed.Identifier(connection.info.dbname)
        setting = composed.SQL("ALTER DATABASE {} SET synchronous_commit = 'on'")
        connection.execute(setting.format(database_name))
    database = Database(url=database_url)
    yield SessionStore(database=database)
    database.close()


def never(_: bytes) -> bytes:
    raise AssertionError("nothing to merge")


def adding(value: int) -> Merge:
    return lambda theirs: codec.encode({"n": codec.decode(theirs)["n"] + value})


def loaded(store: SessionStore, sid_hash: bytes) -> Row:
    row = store.load(sid_hash)
    assert row is not None
    return row


def created(store: SessionStore, user_id: str | None = None) -> bytes:
    """A session that holds {"n": 1}; its hash."""
    sid_hash = token.digest(token.new())
    store.insert(sid_hash, data=codec.encode({"n": 1}), user_id=user_id)
    return sid_hash


def number(store: SessionStore, sid_hash: bytes) -> int:
    n: int = codec.decode(loaded(store, sid_hash).data)["n"]
    return n


@contextmanager
def answer_lost(
    statement: str, *, carried_out: bool, then: Callable[[], Any] = lambda: None
) -> Iterator[None]:
    """The connection breaks under the first such statement, before or after the server does it."""
    ask = Connection.ask_often
    lost: list[Statement] = []

    def breaking(self: Connection, asked: Statement, values: Mapping[str, Value]) -> Any:
        if lost or not asked.text.strip().startswith(statement):
            return ask(self, asked, values)
        lost.append(asked)
        if carried_out:
            ask(self, asked, values)
            then()
        self.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    patch = pytest.MonkeyPatch()
    patch.setattr(Connection, "ask_often", breaking)
    try:
        yield
    finally:
        patch.undo()
    assert lost, f"no {statement} was sent"


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_save_whose_answer_was_lost_is_done_once(store: SessionStore, carried_out: bool) -> None:
    sid_hash = created(store)
    row = loaded(store, sid_hash)
    with answer_lost("UPDATE", carried_out=carried_out):
        assert store.save(sid_hash, row, data=codec.encode({"n": 2}), merge=never)
    assert number(store, sid_hash) == 2
    assert loaded(store, sid_hash).version == 2


def test_a_lost_save_that_others_followed_is_not_added_again(store: SessionStore) -> None:
    sid_hash = created(store)
    row = loaded(store, sid_hash)

    def other() -> None:
        now = loaded(store, sid_hash)
        assert store.save(sid_hash, now, data=codec.encode({"n": 12}), merge=never)

    with (
        answer_lost("UPDATE", carried_out=True, then=other),
        pytest.raises(DatabaseUnavailable, match="others have saved since"),
    ):
        store.save(sid_hash, row, data=codec.encode({"n": 2}), merge=adding(1))
    assert number(store, sid_hash) == 12


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_login_whose_answer_was_lost_is_done_once(store: SessionStore, carried_out: bool) -> None:
    old, new = created(store), token.digest(token.new())
    row = loaded(store, old)
    login = Login(new_hash=new, user_id="7")
    with answer_lost("UPDATE", carried_out=carried_out):
        assert store.save(old, row, data=row.data, merge=never, login=login)
    assert store.load(old) is None
    assert loaded(store, new).user_id == "7"


def test_of_two_saves_the_second_merges_with_the_first(store: SessionStore) -> None:
    sid_hash = created(store)
    row = loaded(store, sid_hash)
    assert store.save(sid_hash, row, data=codec.encode({"n": 5}), merge=never)
    assert store.save(sid_hash, row, data=codec.encode({"n": 2}), merge=adding(1))
    assert number(store, sid_hash) == 6


def test_a_merge_that_fails_changes_nothing_and_lets_go(store: SessionStore) -> None:
    sid_hash = created(store)
    row = loaded(store, sid_hash)
    assert store.save(sid_hash, row, data=codec.encode({"n": 5}), merge=never)

    def fails(_: bytes) -> bytes:
        raise codec.EncodeError("too large together")

    with pytest.raises(codec.EncodeError):
        store.save(sid_hash, row, data=codec.encode({"n": 2}), merge=fails)
    now = loaded(store, sid_hash)
    assert store.save(sid_hash, now, data=codec.encode({"n": 6}), merge=never)


def test_a_write_moves_the_end_as_seldom_as_a_read(store: SessionStore, sql: Sql) -> None:
    sid_hash = created(store)
    ends = "SELECT expires_at FROM web_session"
    sql("UPDATE web_session SET expires_at = now() + interval '28 min'")
    before = sql(ends)
    store.save(sid_hash, loaded(store, sid_hash), data=codec.encode({"n": 2}), merge=never)
    assert sql(ends) == before, "so that the row's indexes need no entry: a HOT update"
    sql("UPDATE web_session SET expires_at = now() + interval '26 min'")
    store.save(sid_hash, loaded(store, sid_hash), data=codec.encode({"n": 3}), merge=never)
    assert sql("SELECT expires_at > now() + interval '29 min' FROM web_session") == [(True,)]


def test_only_the_touch_does_not_wait_for_the_disk(store: SessionStore, sql: Sql) -> None:
    sid_hash = created(store)
    sql("CREATE TABLE seen (id int GENERATED ALWAYS AS IDENTITY, setting text)")
    sql(
        """
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen (setting) VALUES (current_setting('synchronous_commit'));
            RETURN NULL;
        END $$
        """
    )
    sql("CREATE TRIGGER see AFTER UPDATE ON web_session FOR EACH ROW EXECUTE FUNCTION see()")
    store.touch(sid_hash)
    store.save(sid_hash, loaded(store, sid_hash), data=codec.encode({"n": 2}), merge=never)
    assert [row[0] for row in sql("SELECT setting FROM seen ORDER BY id")] == ["off", "on"]


def test_revoke_ends_all_sessions_of_one_user(store: SessionStore) -> None:
    mine = [created(store, "ada") for _ in range(3)]
    other, anonymous = created(store, "bob"), created(store)
    assert store.revoke("ada") == 3
    assert store.revoke("ada") == 0
    assert [store.load(each) for each in mine] == [None] * 3
    assert store.load(other)
    assert store.load(anonymous)


def expire(sql: Sql, count: int) -> None:
    """So many sessions that are over."""
    sql(
        """
        INSERT INTO web_session (sid_hash, data, expires_at, absolute_at)
        SELECT sha256(n::text::bytea), '', now() - n * interval '1 s', now() + interval '1 h'
        FROM generate_series(1, %s) AS n
        """,
        count,
    )


def test_prune_deletes_what_is_over_in_batches(store: SessionStore, sql: Sql) -> None:
    live = created(store)
    expire(sql, 25)
    assert [store.prune(batch=10) for _ in range(4)] == [10, 10, 5, 0]
    assert store.load(live)


def test_prune_passes_by_what_somebody_holds(
    store: SessionStore, sql: Sql, database_url: str
) -> None:
    expire(sql, 3)
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT 1 FROM web_session ORDER BY expires_at LIMIT 1 FOR UPDATE")
        assert store.prune() == 2
    assert store.prune() == 1


def test_one_prunes_at_a_time(store: SessionStore, sql: Sql, database_url: str) -> None:
    expire(sql, 3)
    with psycopg.connect(database_url) as other:
        other.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('smart-factory.web_session.prune', 0))"
        )
        assert store.prune() is None
    assert store.prune() == 3


def test_two_pruners_at_once_delete_everything_once(store: SessionStore, sql: Sql) -> None:
    expire(sql, 2000)

    def pruner(_: int) -> int:
        total = 0
        while (count := store.prune(batch=50)) != 0:
            total += count or 0
        return total

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(pruner, range(2))) == 2000
    assert sql("SELECT count(*) FROM web_session") == [(0,)]
