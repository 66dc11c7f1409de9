"""`python -m app.sessions`: the sessions from the command line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg

from app.command_line import CONTEXT, configured_url, postgres_errors
from app.db import Database
from app.login_limits import LoginLimits
from app.sessions.store import SessionStore


@click.group(context_settings=CONTEXT)
def main() -> None:
    """Delete sessions that are over, or end those of a user.

    The database is DATABASE_URL's, from the environment, else from .env (or the file that
    ENV_FILE names).

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration
    """


@main.command()
@click.option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Sessions deleted in one transaction.",
)
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def prune(batch: int, as_json: bool) -> None:
    """Delete the sessions that are over, and what is over of the limits of failed logins.

    Run it from a timer, every quarter of an hour or so. Requests never wait for it; of two at once
    one does the work.
    """
    pruned, another = 0, False
    with _database() as database:
        store = SessionStore(database=database)
        while True:
            count = store.prune(batch=batch)
            if count is None:
                another = True
                break
            pruned += count
            if sys.stderr.isatty():
                click.echo(f"\r{pruned} deleted\033[K", err=True, nl=False)
            if count < batch:
                break
        limits = _prune_login_limits(database, batch)
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)
    if as_json:
        facts = {"pruned": pruned, "another_prunes": another, "login_limits": limits}
        click.echo(json.dumps(facts))
    else:
        rest = "; another prune is under way and does the rest" if another else ""
        click.echo(f"{pruned} session(s) and {limits} login limit(s) deleted{rest}")


@main.command()
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def revoke(user_id: str, as_json: bool) -> None:
    """End all sessions of USER_ID, at once and on every worker."""
    with _database() as database:
        ended = SessionStore(database=database).revoke(user_id)
    click.echo(json.dumps({"ended": ended}) if as_json else f"{ended} session(s) ended")


def _prune_login_limits(database: Database, batch: int) -> int:
    try:
        return LoginLimits(database=database).prune(batch=batch)
    except psycopg.errors.UndefinedTable:
        return 0  # sessions of another application than ours


@contextmanager
def _database() -> Iterator[Database]:
    logging.getLogger("app.db").addHandler(logging.NullHandler())  # an outage is said once, by us
    database = Database(url=configured_url("python -m app.sessions …"), pool_max=1)
    try:
        with postgres_errors():
            yield database
    finally:
        database.close()


if __name__ == "__main__":
    main(prog_name="python -m app.sessions")
