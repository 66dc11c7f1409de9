"""The schema's history: ordered SQL files, each applied once, in a transaction of its own.

`0007_name.sql` is an expand step: the release in service must go on working with it.
`0008_name.contract.sql` takes away what no release in service uses any more, and is only applied
when it is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from app.db.expand import destructive

SCHEMA = Path(__file__).parents[1] / "schema"
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)(\.contract)?\.sql")

_READ = "SELECT version, name, checksum, applied_at FROM schema_migration ORDER BY version"

# Whoever holds this lock is the only one who migrates this database. It ends with the transaction,
# hence also when its holder is killed, and behind a pooler that gives out transactions.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('smart-factory.schema_migration', 0))"
_LOCK_DEADLINE = "SET LOCAL lock_timeout = '60s'"  # also for the advisory lock

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

_RECORD = "INSERT INTO schema_migration (version, name, checksum) VALUES (%s, %s, %s)"


class MigrationError(Exception):
    """The schema cannot be brought up to date; nothing of the failed migration was kept."""


class Kind(StrEnum):
    EXPAND = "expand"
    CONTRACT = "contract"


class State(StrEnum):
    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed"  # the file is not the one that was applied
    UNKNOWN = "unknown"  # applied by a newer release, which may be right after a rollback


@dataclass(frozen=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: bytes
    kind: Kind = Kind.EXPAND

    @property
    def label(self) -> str:
        """The file's name without its last suffix: `0008_drop_old.contract`."""
        suffix = ".contract" if self.kind is Kind.CONTRACT else ""
        return f"{self.version:04}_{self.name}{suffix}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the text; line ends do not count, since a checkout may change them."""
        return hashlib.sha256(self.sql.replace(b"\r\n", b"\n")).hexdigest()


@dataclass(frozen=True)
class Applied:
    """One row of schema_migration."""

    version: int
    name: str
    checksum: str
    applied_at: datetime


@dataclass(frozen=True)
class Entry:
    """One line of `status`."""

    version: int
    name: str
    state: State
    applied_at: datetime | None
    kind: Kind | None = Kind.EXPAND  # None: the file is not there to say it


def read(folder: Path = SCHEMA) -> tuple[Migration, ...]:
    """The migrations of a folder in order; raises MigrationError unless they are 1, 2, 3, …"""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(
                f"{path.name}: expected a name like 0001_what_it_does.sql, "
                "or 0001_what_it_does.contract.sql"
            )
        kind = Kind.CONTRACT if match[3] else Kind.EXPAND
        found.append(Migration(int(match[1]), match[2], path.read_bytes(), kind))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            what = "twice" if migration.version < expected else f"but {expected:04} is missing"
            raise MigrationError(
                f"{folder.name}/ has {migration.version:04} {what}: number the files 0001, 0002, …"
            )
    return tuple(found)


def compare(migrations: Sequence[Migration], applied: Sequence[Applied]) -> list[Entry]:
    """What the files and the database say of each version, in order."""
    rows = {row.version: row for row in applied}
    entries = [_entry(migration, rows) for migration in migrations]
    known = {migration.version for migration in migrations}
    entries += [
        Entry(row.version, row.name, State.UNKNOWN, row.applied_at, None)
        for row in applied
        if row.version not in known
    ]
    return sorted(entries, key=lambda entry: entry.version)


def status(connection: psycopg.Connection[Any], migrations: Sequence[Migration]) -> list[Entry]:
    """As `compare`, with the database's rows; one statement, nothing is created."""
    return compare(migrations, _applied(connection))


def apply(
    connection: psycopg.Connection[Any],
    migrations: Sequence[Migration],
    *,
    report: Callable[[Migration], None] = lambda _: None,
) -> int:
    """Applies the expand steps that are pending and returns how many; raises MigrationError.

    Any number of processes may call it at once: each migration is applied by one of them.
    `connection` is in autocommit mode. When all is up to date it costs one statement.
    """
    left = _pending(status(connection, migrations), Kind.EXPAND)
    for version in left:
        _refuse_destructive(migrations[version - 1])
    return _apply(connection, migrations, Kind.EXPAND, report) if left else 0


def contract(
    connection: psycopg.Connection[Any],
    migrations: Sequence[Migration],
    *,
    report: Callable[[Migration], None] = lambda _: None,
) -> int:
    """Applies the contract steps that are left, otherwise as `apply`.

    Raises MigrationError as well while an expand step before the last of them is pending.
    """
    left = contract_steps(status(connection, migrations), migrations)
    return _apply(connection, migrations, Kind.CONTRACT, report) if left else 0


def contract_steps(entries: Sequence[Entry], migrations: Sequence[Migration]) -> list[Migration]:
    """The contract steps that are left; raises MigrationError as `contract`. Pure."""
    left = _pending(entries, Kind.CONTRACT)
    first = next(iter(_pending(entries, Kind.EXPAND)), None)
    if left and first is not None and first < left[-1]:
        raise MigrationError(
            f"{migrations[first - 1].label} is pending and comes first: python -m app.db migrate"
        )
    return [migrations[version - 1] for version in left]


def _apply(
    connection: psycopg.Connection[Any],
    migrations: Sequence[Migration],
    kind: Kind,
    report: Callable[[Migration], None],
) -> int:
    done = 0
    while (migration := _apply_next(connection, migrations, kind)) is not None:
        report(migration)
        done += 1
    return done


def _refuse_destructive(migration: Migration) -> None:
    statement = destructive(migration.sql.decode(errors="replace"))
    if statement:
        raise MigrationError(
            f"{migration.label}.sql: the release in service may still need what this changes: "
            f"{statement} (a contract step: {migration.version:04}_{migration.name}.contract.sql)"
        )


def _apply_next(
    connection: psycopg.Connection[Any], migrations: Sequence[Migration], kind: Kind
) -> Migration | None:
    with connection.transaction():
        connection.execute(_LOCK_DEADLINE)
        try:
            connection.execute(_LOCK)
        except psycopg.errors.LockNotAvailable:
            raise MigrationError(
                "another process has been migrating this database for 60 s: wait for it, or end it"
            ) from None
        connection.execute(_CREATE)
        # Read only now: at READ COMMITTED it sees what the lock's previous holder committed.
        left = _pending(compare(migrations, _applied(connection)), kind)
        if not left:
            return None
        migration = migrations[left[0] - 1]
        try:
            connection.execute(migration.sql)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise MigrationError(
                f"{migration.label} failed: {str(error).splitlines()[0]}"
            ) from error
        connection.execute(_RECORD, (migration.version, migration.name, migration.checksum))
    return migration


def _applied(connection: psycopg.Connection[Any]) -> list[Applied]:
    with connection.cursor(row_factory=class_row(Applied)) as cursor:
        try:
            return cursor.execute(_READ).fetchall()
        except psycopg.errors.UndefinedTable:
            return []


def _pending(entries: Sequence[Entry], kind: Kind) -> list[int]:
    """The versions to apply; raises MigrationError when a file changed after the fact."""
    for entry in entries:
        if entry.state is State.CHANGED:
            raise MigrationError(
                f"{entry.version:04}_{entry.name} was changed after it was applied: "
                "restore the file and put the change into a new one"
            )
    return [e.version for e in entries if e.state is State.PENDING and e.kind is kind]


def _entry(migration: Migration, rows: Mapping[int, Applied]) -> Entry:
    row = rows.get(migration.version)
    if row is None:
        return Entry(migration.version, migration.name, State.PENDING, None, migration.kind)
    same = (row.name, row.checksum) == (migration.name, migration.checksum)
    state = State.APPLIED if same else State.CHANGED
    return Entry(migration.version, migration.name, state, row.applied_at, migration.kind)
