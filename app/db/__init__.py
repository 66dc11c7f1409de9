"""Postgres: one pool of connections a process, and the migrations of the schema.

`python -m app.db migrate|status` is the operator's side.
"""

from app.db.connection import Connection, reason
from app.db.database import RETRY_AFTER, AnswerLost, Database, DatabaseUnavailable

__all__ = ["RETRY_AFTER", "AnswerLost", "Connection", "Database", "DatabaseUnavailable", "reason"]
