"""Postgres: one pool of connections a process, and the migrations of the schema.

`python -m app.db migrate|status` is the operator's side.
"""

from app.db.connection import Connection, reason
from app.db.database import RETRY_AFTER, AnswerLost, Database, DatabaseUnavailable
from app.db.statement import Statement, Value

__all__ = [
    "RETRY_AFTER",
    "AnswerLost",
    "Connection",
    "Database",
    "DatabaseUnavailable",
    "Statement",
    "Value",
    "reason",
]
