"""The database and the bus of the configuration, with one line for each way they fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.command_line import Failed, configured, postgres_errors
from app.config import Config
from app.db import Connection
from app.db.connection import limit_statements
from app.events import connect
from app.events.bus import Bus, BusRefused, BusUnavailable

# Their loggers tell of outages: here the command does, in its one line.
_TALKATIVE = ("app.db", "app.events")


def config() -> Config:
    """What the environment says; raises Misconfigured."""
    return configured("python -m app.consumers …")


@contextmanager
def database(config: Config) -> Iterator[Connection]:
    """A connection in autocommit mode; raises Failed."""
    assert config.database_url is not None  # noqa: S101 - `configured` has refused that before
    with postgres_errors(), Connection.open(config.database_url) as connection:
        limit_statements(connection)
        yield connection


@contextmanager
def bus(config: Config) -> Iterator[Bus]:
    """The bus; what it raises within becomes Failed."""
    found = quiet_bus(config)
    try:
        with bus_errors():
            yield found
    finally:
        found.close()


def quiet_bus(config: Config) -> Bus:
    """The bus, whose outages nobody but its caller tells."""
    for name in _TALKATIVE:
        logging.getLogger(name).addHandler(logging.NullHandler())
    return connect.bus(config)


@contextmanager
def bus_errors() -> Iterator[None]:
    """Makes one line of what the bus, or its absence, raises within."""
    try:
        yield
    except (BusUnavailable, BusRefused) as error:
        raise Failed(str(error)) from None
