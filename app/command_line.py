"""What the application's commands (`python -m app.db` and the like) have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg
from dotenv import dotenv_values

from app.config import Config, ConfigError, database_url
from app.db import DatabaseUnavailable, reason

CONTEXT = {"help_option_names": ["-h", "--help"]}


class Failed(click.ClickException):
    """One line on standard error."""

    exit_code = 1


class Misconfigured(Failed):
    """Nothing was tried."""

    exit_code = 2


def configured_url(command: str) -> str:
    """DATABASE_URL, from the environment, else from .env; raises Misconfigured.

    `command` is what to run with the embedded Postgres instead: `python -m app.db …`.
    """
    try:
        url = database_url(os.environ) or database_url(_env_file())
    except ConfigError as error:
        raise Misconfigured(str(error)) from None
    if url is None:
        raise Misconfigured(_no_database(command))
    return url


def configured(command: str) -> Config:
    """The whole configuration, from the environment, else from .env; raises Misconfigured.

    It has a database_url; `command` as for `configured_url`.
    """
    try:
        config = Config.read({**_env_file(), **os.environ})
    except ConfigError as error:
        raise Misconfigured(str(error)) from None
    if config.database_url is None:
        raise Misconfigured(_no_database(command))
    return config


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Makes one line of what Postgres, or its absence, raises within."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise Failed(f"Postgres is away: {error}") from None
    except psycopg.OperationalError as error:
        raise Failed(f"Postgres is away: {reason(error)}") from None
    except psycopg.Error as error:
        raise Failed(f"Postgres refused: {reason(error)}") from None


def _no_database(command: str) -> str:
    return (
        "DATABASE_URL is not set: set it, or run "
        f"python -m deploy.ops.embedded_postgres -- {command}"
    )


def _env_file() -> Mapping[str, str]:
    named = os.environ.get("ENV_FILE")
    path = Path(named or ".env")
    if not path.is_file():
        if named:
            raise ConfigError(f"ENV_FILE={named!r}: expected a file that exists")
        return {}
    # Not interpolated: a password may hold a dollar sign.
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}
