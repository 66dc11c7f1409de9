"""Sessions in Postgres for any Flask application, in one call."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from app.db import Connection, Database, DatabaseUnavailable, migrations
from app.errors import database_unavailable
from app.sessions.interface import PostgresSessionInterface
from app.sessions.store import SessionStore

_EXISTS = "SELECT to_regclass('web_session')"


def install(
    app: Flask,
    url: str,
    *,
    idle: timedelta = timedelta(minutes=30),
    absolute: timedelta = timedelta(hours=12),
    pool_max: int = 5,
) -> PostgresSessionInterface:
    """Keeps `flask.session` of `app` in the Postgres at `url`, in the table web_session.

    Opens nothing: the first session that is used connects, and creates the table when it is
    missing. `pool_max` is connections a process. While Postgres is away, requests that use their
    session answer 503 with Retry-After. `regenerate` of what is returned is for logins.
    """
    database = Database(url=url, pool_max=pool_max, prepare=_create_table)
    app.session_interface = interface = PostgresSessionInterface(
        app, store=SessionStore(database=database, idle=idle, absolute=absolute)
    )
    app.register_error_handler(DatabaseUnavailable, database_unavailable)
    return interface


def _create_table(connection: Connection) -> None:
    found = connection.execute(_EXISTS).fetchone()
    if found is not None and found[0] is not None:
        return
    try:
        migrations.apply(connection, migrations.read()[:1])
    except migrations.MigrationError as error:
        raise DatabaseUnavailable(f"web_session: {error}") from error
