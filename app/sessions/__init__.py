"""Server-side sessions in Postgres, behind Flask-Session's interface.

`install(app, url)` gives them to any Flask application; `python -m app.sessions prune|revoke` is
the operator's side.
"""

from app.sessions.install import install
from app.sessions.interface import PostgresSessionInterface
from app.sessions.session import Session
from app.sessions.store import SessionStore

__all__ = ["PostgresSessionInterface", "Session", "SessionStore", "install"]
