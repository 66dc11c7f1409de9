"""The WSGI callable: `gunicorn app.wsgi:app`. Opens nothing; safe to load once and fork."""

from __future__ import annotations

from app import create_app

app = create_app()
