from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from app.db import migrations
from app.db.migrations import Applied, Kind, Migration, MigrationError, State
from tests.app.conftest import Sql

LATEST = len(migrations.read())
COMMAND = [sys.executable, "-m", "app.db"]
ROOT = Path(__file__).parents[2]


def environ(url: str | None, **others: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "ENV_FILE")}
    return kept | {"PYTHONPATH": str(ROOT)} | ({"DATABASE_URL": url} if url else {}) | others


def command(
    *arguments: str, url: str | None, cwd: Path, **others: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environ(url, **others),
        cwd=cwd,  # without the checkout's .env
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def folder(path: Path, *files: tuple[str, str]) -> Path:
    for name, text in files:
        (path / name).write_text(text)
    return path


def apply(url: str, files: Sequence[Migration]) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        return migrations.apply(connection, files)


def tables(sql: Sql) -> set[str]:
    rows = sql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return {str(name) for (name,) in rows} - {"schema_migration"}


def test_the_schema_is_well_numbered_and_applies_once(database_url: str, sql: Sql) -> None:
    files = migrations.read()
    assert apply(database_url, files) == LATEST
    assert apply(database_url, files) == 0
    rows = sql("SELECT version, name, checksum FROM schema_migration ORDER BY version")
    assert rows == [(m.version, m.name, m.checksum) for m in files]


def test_up_to_date_costs_one_statement(database_url: str) -> None:
    apply(database_url, migrations.read())
    statements = []

    class Counting(psycopg.Cursor[tuple[object, ...]]):
        def execute(self, query, *args, **kwargs):  # type: ignore[no-untyped-def]
            statements.append(query)
            return super().execute(query, *args, **kwargs)

    with psycopg.connect(database_url, autocommit=True, cursor_factory=Counting) as connection:
        # class_row makes the cursor: the factory counts those of both kinds
        assert migrations.apply(connection, migrations.read()) == 0
    assert len(statements) == 1


def test_a_changed_file_is_refused(database_url: str, tmp_path: Path, sql: Sql) -> None:
    files = folder(tmp_path, ("0001_one.sql", "CREATE TABLE one ()"))
    apply(database_url, migrations.read(files))
    (files / "0001_one.sql").write_text("CREATE TABLE one (id int)")
    (files / "0002_two.sql").write_text("CREATE TABLE two ()")
    with pytest.raises(MigrationError, match="0001_one was changed after it was applied"):
        apply(database_url, migrations.read(files))
    assert sql("SELECT to_regclass('two')") == [(None,)]


def test_line_ends_are_not_a_change() -> None:
    unix, dos = (Migration(1, "one", sql) for sql in (b"a\nb\n", b"a\r\nb\r\n"))
    assert unix.checksum == dos.checksum


def test_a_failed_migration_leaves_nothing(database_url: str, tmp_path: Path, sql: Sql) -> None:
    files = folder(
        tmp_path,
        ("0001_good.sql", "CREATE TABLE good ()"),
        ("0002_bad.sql", "CREATE TABLE half (); SELECT 1/0"),
    )
    with pytest.raises(MigrationError, match="0002_bad failed: division by zero"):
        apply(database_url, migrations.read(files))
    assert sql("SELECT to_regclass('good') IS NULL, to_regclass('half') IS NULL") == [(False, True)]
    assert sql("SELECT version FROM schema_migration") == [(1,)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0001_a.sql", "0003_b.sql"], "has 0003 but 0002 is missing"),
        (["0002_a.sql"], "has 0002 but 0001 is missing"),
        (["0001_a.sql", "0001_b.sql"], "has 0001 twice"),
        (["0001_a.sql", "2_b.sql"], "2_b.sql: expected a name like"),
        (["0001-a.sql"], "0001-a.sql: expected a name like"),
        (["0001_a.sql", "0001_b.contract.sql"], "has 0001 twice"),
        (["0001_a.expand.sql"], "0001_a.expand.sql: expected a name like"),
    ],
)
def test_bad_numbers_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(MigrationError, match=message):
        migrations.read(folder(tmp_path, *((name, "SELECT 1") for name in names)))


def test_a_newer_release_may_have_migrated(database_url: str) -> None:
    apply(database_url, (*migrations.read(), Migration(LATEST + 1, "newer", b"SELECT 1")))
    assert apply(database_url, migrations.read()) == 0
    with psycopg.connect(database_url) as connection:
        entries = migrations.status(connection, migrations.read())
    assert [e.state for e in entries] == [State.APPLIED] * LATEST + [State.UNKNOWN]


def test_compare_tells_the_state_of_each_version() -> None:
    files = [Migration(n, f"m{n}", b"x") for n in (1, 2, 3)]
    when = datetime.fromisoformat("2026-01-31T12:00:00+00:00")
    rows = [
        Applied(1, "m1", files[0].checksum, when),
        Applied(2, "m2", "another", when),
        Applied(9, "m9", "whatever", when),
    ]
    states = [(e.version, e.state) for e in migrations.compare(files, rows)]
    assert states == [
        (1, State.APPLIED),
        (2, State.CHANGED),
        (3, State.PENDING),
        (9, State.UNKNOWN),
    ]


def test_eight_processes_at_once_apply_each_migration_once(
    database_url: str, tmp_path: Path, sql: Sql
) -> None:
    processes = [
        subprocess.Popen(
            [*COMMAND, "migrate"],
            env=environ(database_url),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, said
    applied = [line for out, _ in said for line in out.splitlines() if line.startswith("applied ")]
    assert sorted(applied) == [f"applied {m.version:04}_{m.name}" for m in migrations.read()]
    assert all(f"the schema is at version {LATEST}" in out for out, _ in said)
    assert sql("SELECT count(*) FROM schema_migration") == [(LATEST,)]


def test_the_command_migrates_and_reports(database_url: str, tmp_path: Path) -> None:
    before = command("status", "--json", url=database_url, cwd=tmp_path)
    assert before.returncode == 3, before.stderr
    facts = json.loads(before.stdout)
    assert (facts["version"], facts["pending"]) == (0, LATEST)

    first = command("migrate", url=database_url, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[0] == "applied 0001_web_session"
    assert first.stdout.splitlines()[-1] == f"{LATEST} applied: the schema is at version {LATEST}"
    again = command("migrate", url=database_url, cwd=tmp_path)
    assert again.stdout == f"nothing to apply: the schema is at version {LATEST}\n"

    after = command("status", url=database_url, cwd=tmp_path)
    assert after.returncode == 0, after.stderr
    assert after.stdout.splitlines()[0].split() == ["migration", "kind", "state", "applied", "at"]
    assert after.stdout.splitlines()[1].split()[:3] == ["0001_web_session", "expand", "applied"]
    facts = json.loads(command("status", "--json", url=database_url, cwd=tmp_path).stdout)
    assert facts["pending"] == 0
    assert {m["state"] for m in facts["migrations"]} == {"applied"}


def test_status_fails_when_a_file_was_changed(database_url: str, tmp_path: Path, sql: Sql) -> None:
    apply(database_url, migrations.read())
    sql("UPDATE schema_migration SET checksum = 'another' WHERE version = 1")
    assert command("status", url=database_url, cwd=tmp_path).returncode == 1
    migrate = command("migrate", url=database_url, cwd=tmp_path)
    assert migrate.returncode == 1
    assert migrate.stderr.startswith("Error: 0001_web_session was changed after it was applied")


@pytest.mark.parametrize("verb", ["migrate", "status"])
def test_a_database_that_is_away_is_one_line(tmp_path: Path, verb: str) -> None:
    url = "postgresql://ada:hunter2@127.0.0.1:1/none"
    done = command(verb, url=url, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "Error: Postgres is away: cannot connect: Connection refused\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("url", "others", "message"),
    [
        (None, {}, "DATABASE_URL is not set: set it, or run python -m deploy.ops.embedded"),
        ("mysql://u:hunter2@h/x", {}, "DATABASE_URL: expected postgresql://"),
        (None, {"ENV_FILE": "no-such-file"}, "ENV_FILE='no-such-file': expected a file"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    tmp_path: Path, url: str | None, others: dict[str, str], message: str
) -> None:
    done = command("migrate", url=url, cwd=tmp_path, **others)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("name", [".env", "production.env"])
def test_the_url_may_be_in_a_file(database_url: str, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"DATABASE_URL='{database_url}'\n")
    others = {} if name == ".env" else {"ENV_FILE": name}
    assert command("migrate", url=None, cwd=tmp_path, **others).returncode == 0

    (tmp_path / name).write_text("DATABASE_URL=postgresql://127.0.0.1:1/none\n")
    assert command("status", url=database_url, cwd=tmp_path, **others).returncode == 0


def test_help_explains_the_exit_codes(tmp_path: Path) -> None:
    done = command("--help", url=None, cwd=tmp_path)
    assert done.returncode == 0
    assert "migrate" in done.stdout
    assert "Exit codes" in done.stdout
    assert command("nonsense", url=None, cwd=tmp_path).returncode == 2


CONTRACT = (
    ("0001_old.sql", "CREATE TABLE old (); CREATE TABLE older ()"),
    ("0002_drop_old.contract.sql", "DROP TABLE old"),
    ("0003_new.sql", "CREATE TABLE new ()"),
    ("0004_drop_older.contract.sql", "DROP TABLE older"),
)


def test_contract_steps_wait_until_they_are_asked_for(
    database_url: str, tmp_path: Path, sql: Sql
) -> None:
    files = migrations.read(folder(tmp_path, *CONTRACT))
    assert [m.kind for m in files] == [Kind.EXPAND, Kind.CONTRACT] * 2
    assert apply(database_url, files) == 2
    assert tables(sql) == {"old", "older", "new"}
    assert apply(database_url, files) == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        reported: list[Migration] = []
        assert migrations.contract(connection, files, report=reported.append) == 2
        assert [m.label for m in reported] == ["0002_drop_old.contract", "0004_drop_older.contract"]
        assert migrations.contract(connection, files) == 0
        assert {e.state for e in migrations.status(connection, files)} == {State.APPLIED}
    assert tables(sql) == {"new"}


def test_a_contract_step_waits_for_the_expand_steps_before_it(
    database_url: str, tmp_path: Path, sql: Sql
) -> None:
    files = migrations.read(folder(tmp_path, *CONTRACT))
    apply(database_url, files[:1])
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        pytest.raises(MigrationError, match=r"0003_new is pending and comes first: python -m app"),
    ):
        migrations.contract(connection, files)
    assert tables(sql) == {"old", "older"}


def test_a_destructive_expand_file_is_refused_before_anything_is_applied(
    database_url: str, tmp_path: Path, sql: Sql
) -> None:
    files = folder(
        tmp_path,
        ("0001_good.sql", "CREATE TABLE good ()"),
        ("0002_bad.sql", "SELECT 1; drop table good;"),
    )
    with pytest.raises(MigrationError) as caught:
        apply(database_url, migrations.read(files))
    assert str(caught.value) == (
        "0002_bad.sql: the release in service may still need what this changes: drop table good "
        "(a contract step: 0002_bad.contract.sql)"
    )
    assert tables(sql) == set()


def test_a_destructive_file_that_was_applied_once_is_history(
    database_url: str, tmp_path: Path, sql: Sql
) -> None:
    files = migrations.read(folder(tmp_path, ("0001_one.sql", "DROP TABLE IF EXISTS one")))
    apply(database_url, [])
    sql(
        "CREATE TABLE schema_migration (version int PRIMARY KEY, name text, checksum text, "
        "applied_at timestamptz DEFAULT now())"
    )
    sql("INSERT INTO schema_migration VALUES (1, 'one', %s)", files[0].checksum)
    assert apply(database_url, files) == 0


@pytest.fixture
def in_another_schema(tmp_path: Path) -> Path:
    """A copy of the application's package, in which the files of the schema are the test's own."""
    shutil.copytree(ROOT / "app", tmp_path / "app")
    shutil.rmtree(tmp_path / "app/schema")
    (tmp_path / "app/schema").mkdir()
    folder(tmp_path / "app/schema", *CONTRACT)
    return tmp_path


def test_the_commands_leave_contract_steps_to_the_operator(
    database_url: str, in_another_schema: Path, sql: Sql
) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        there = str(in_another_schema)
        return command(*words, url=database_url, cwd=in_another_schema, PYTHONPATH=there)

    migrated = run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert migrated.stdout.splitlines() == [
        "applied 0001_old",
        "applied 0003_new",
        "2 applied: the schema is at version 3",
        "2 contract steps are left: python -m app.db contract",
    ]
    status = run("status", "--json")
    assert status.returncode == 0
    facts = json.loads(status.stdout)
    assert (facts["version"], facts["pending"], facts["contract"]) == (3, 0, 2)
    assert [m["kind"] for m in facts["migrations"]] == ["expand", "contract"] * 2

    dry = run("contract", "--dry-run")
    assert dry.stdout.splitlines()[:2] == ["would apply 0002_drop_old.contract:", "DROP TABLE old"]
    unasked = run("contract")
    assert unasked.returncode == 2
    assert unasked.stderr.startswith("Error: contract asks before it takes anything away")
    assert tables(sql) == {"old", "older", "new"}

    done = run("contract", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 applied: the schema is at version 4"
    assert tables(sql) == {"new"}
    assert run("contract").stdout == "no contract step is left\n"
