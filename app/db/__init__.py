"""Postgres: one pool of connections a process, and the migrations of the schema.

`python -m app.db migrate|status` is the operator's side.
"""

from app.db.connection import Connection, reason
from app.db.database import RETRY_AFTER, Database, DatabaseUnavailable

__all__ = ["RETRY_AFTER", "Connection", "Database", "DatabaseUnavailable", "reason"]
