"""`python -m app.db`: the schema from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from app.command_line import CONTEXT, Failed, configured_url, postgres_errors
from app.db import Connection, migrations
from app.db.migrations import Entry, Migration, MigrationError, State

_PENDING = 3


@click.group(context_settings=CONTEXT)
def main() -> None:
    """Bring the database's schema up to date, or show how it stands.

    The database is DATABASE_URL's, from the environment, else from .env (or the file that
    ENV_FILE names).

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
    3 migrations are pending (status)
    """


@main.command()
def migrate() -> None:
    """Apply the pending migrations, each in a transaction of its own.

    Safe to run in any number of processes at once.
    """
    with _connected() as (connection, files):
        count = migrations.apply(connection, files, report=_say)
        version = max(e.version for e in migrations.status(connection, files))
    done = f"{count} applied" if count else "nothing to apply"
    click.echo(f"{done}: the schema is at version {version}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def status(as_json: bool) -> None:
    """Show each migration, and whether it is applied."""
    with _connected() as (connection, files):
        entries = migrations.status(connection, files)
    click.echo(_json(entries) if as_json else _table(entries))
    states = {entry.state for entry in entries}
    if State.CHANGED in states:
        sys.exit(Failed.exit_code)
    if State.PENDING in states:
        sys.exit(_PENDING)


@contextmanager
def _connected() -> Iterator[tuple[Connection, Sequence[Migration]]]:
    with postgres_errors():
        try:
            files = migrations.read()
            # No deadline: a migration of a large table takes its time, and only the operator waits.
            url = configured_url("python -m app.db …")
            with Connection.open(url) as connection, connection.until(float("inf")):
                yield connection, files
        except MigrationError as error:
            raise Failed(str(error)) from None


def _say(migration: Migration) -> None:
    click.echo(f"applied {migration.version:04}_{migration.name}")


def _table(entries: Sequence[Entry]) -> str:
    width = max([len("migration"), *(len(entry.name) + 5 for entry in entries)])
    lines = [f"{'migration':{width}}  {'state':8}  applied at"]
    for e in entries:
        when = f"{e.applied_at:%Y-%m-%d %H:%M:%S%z}" if e.applied_at else "-"
        lines.append(f"{f'{e.version:04}_{e.name}':{width}}  {e.state:8}  {when}")
    return "\n".join(lines)


def _json(entries: Sequence[Entry]) -> str:
    return json.dumps(
        {
            "version": max((e.version for e in entries if e.applied_at), default=0),
            "pending": sum(e.state is State.PENDING for e in entries),
            "migrations": [
                {
                    "version": e.version,
                    "name": e.name,
                    "state": e.state,
                    "applied_at": e.applied_at.isoformat() if e.applied_at else None,
                }
                for e in entries
            ],
        },
        indent=2,
    )


if __name__ == "__main__":
    main(prog_name="python -m app.db")
