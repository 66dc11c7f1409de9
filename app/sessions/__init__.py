"""Server-side sessions in Postgres, behind Flask-Session's interface."""

from app.sessions.interface import PostgresSessionInterface
from app.sessions.session import Session
from app.sessions.store import SessionStore

__all__ = ["PostgresSessionInterface", "Session", "SessionStore"]
