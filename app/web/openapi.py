"""The API's description, for people and their tools."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

from app.config import Config
from app.openapi import document


def blueprint(*, app: Flask, config: Config, version: str) -> Blueprint:
    """`app` knows the session cookie's name, which is part of the description."""
    openapi = Blueprint("openapi", __name__)
    # Written once: it is the same for every request.
    described = document(
        title=config.app_name,
        version=version,
        session_cookie=app.config["SESSION_COOKIE_NAME"],
    )
    text = app.json.dumps(described, separators=(",", ":")) + "\n"

    @openapi.get("/api/openapi.json")
    def description() -> Response:
        return Response(text, mimetype="application/json")

    return openapi
