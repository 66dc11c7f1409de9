"""`python -m app.db`: the schema from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from app.command_line import CONTEXT, Failed, Misconfigured, configured_url, postgres_errors
from app.db import Connection, migrations
from app.db.migrations import Entry, Kind, Migration, MigrationError, State

_PENDING = 3


@click.group(context_settings=CONTEXT)
def main() -> None:
    """Bring the database's schema up to date, or show how it stands.

    The database is DATABASE_URL's, from the environment, else from .env (or the file that
    ENV_FILE names).

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
    3 migrations other than contract steps are pending (status)
    """


@main.command()
def migrate() -> None:
    """Apply the pending migrations, each in a transaction of its own.

    Contract steps (NNNN_name.contract.sql) are left out. Safe to run in any number of processes at
    once, and while the former release serves: a file that would take something away from it is
    refused.
    """
    with _connected() as (connection, files):
        count = migrations.apply(connection, files, report=_say)
        entries = migrations.status(connection, files)
    done = f"{count} applied" if count else "nothing to apply"
    click.echo(f"{done}: the schema is at version {_version(entries)}")
    left = _count(entries, Kind.CONTRACT)
    if left:
        steps = "1 contract step is left" if left == 1 else f"{left} contract steps are left"
        click.echo(f"{steps}: python -m app.db contract")


@main.command()
@click.option("--dry-run", is_flag=True, help="Print what would be applied.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def contract(dry_run: bool, yes: bool) -> None:
    """Apply the contract steps: they take away what only former releases use.

    There is no way back, and no release that needs what they take may serve, or be rolled back to.
    """
    with _connected() as (connection, files):
        left = migrations.contract_steps(migrations.status(connection, files), files)
        if dry_run or not left:
            click.echo("\n".join(map(_would_apply, left)) or "no contract step is left")
            return
        _confirm(left, yes=yes)
        count = migrations.contract(connection, files, report=_say)
        version = _version(migrations.status(connection, files))
    click.echo(f"{count} applied: the schema is at version {version}")


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
    if _count(entries, Kind.EXPAND):
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
    click.echo(f"applied {migration.label}")


def _would_apply(migration: Migration) -> str:
    text = migration.sql.decode(errors="replace").strip()
    return f"would apply {migration.label}:\n{text}"


def _confirm(left: Sequence[Migration], *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misconfigured(
            "contract asks before it takes anything away: without a terminal, --yes"
        )
    for migration in left:
        click.echo(f"  {migration.label}")
    click.confirm("No release that needs what these take away will work again. Apply?", abort=True)


def _version(entries: Sequence[Entry]) -> int:
    return max((entry.version for entry in entries if entry.applied_at), default=0)


def _count(entries: Sequence[Entry], kind: Kind) -> int:
    """How many of the kind are pending."""
    return sum(entry.state is State.PENDING and entry.kind is kind for entry in entries)


def _table(entries: Sequence[Entry]) -> str:
    width = max([len("migration"), *(len(entry.name) + 5 for entry in entries)])
    lines = [f"{'migration':{width}}  {'kind':8}  {'state':8}  applied at"]
    for e in entries:
        when = f"{e.applied_at:%Y-%m-%d %H:%M:%S%z}" if e.applied_at else "-"
        name = f"{e.version:04}_{e.name}"
        lines.append(f"{name:{width}}  {e.kind or '-':8}  {e.state:8}  {when}")
    return "\n".join(lines)


def _json(entries: Sequence[Entry]) -> str:
    return json.dumps(
        {
            "version": _version(entries),
            "pending": _count(entries, Kind.EXPAND),
            "contract": _count(entries, Kind.CONTRACT),
            "migrations": [
                {
                    "version": e.version,
                    "name": e.name,
                    "kind": e.kind,
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
