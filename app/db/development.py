"""The schema where nobody migrates it: outside production whoever comes first does."""

from __future__ import annotations

import logging

from app.db import migrations
from app.db.connection import Connection
from app.db.database import DatabaseUnavailable

log = logging.getLogger(__name__)


def migrate(connection: Connection) -> None:
    """Applies what is pending; raises DatabaseUnavailable."""
    try:
        applied = migrations.apply(connection, migrations.read())
    except migrations.MigrationError as error:
        raise DatabaseUnavailable(f"migrations: {error}") from error
    if applied:
        log.info("applied %d migration(s)", applied, extra={"event": "database.migrated"})
