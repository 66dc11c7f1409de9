"""What the API promises, as OpenAPI 3.1: written by hand, one module a tag, held to by tests."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from app.openapi import auth, components, health, issuance, payments, preferences, realtime
from app.openapi.parts import Json, json_answer

_INTRODUCTION = """
Any worker answers any request; `X-Worker-ID` says which one did. `X-Request-ID` finds an answer in
the log: send one of your own (1 to 128 of `A-Z a-z 0-9 . _ -`), or one is made.

Bodies are JSON, at most 1 MiB (16 KiB under `/api/auth`). Every error is
`{"error": {"code", "message", "request_id"}}`: `code` is for programs, `message` for people.
Besides what is named for an operation there are 404 `not_found` at an unknown address, 405
`method_not_allowed` with `Allow` for another method, and 500 `internal_error`, a fault of ours.

After a 429 or 503 wait the seconds in `Retry-After`. A browser's request that changes something
must come from this host or from an origin in `CORS_ORIGINS`.
"""

_DESCRIPTION: Json = {
    "/api/openapi.json": {
        "get": {
            "operationId": "getDescription",
            "tags": ["status"],
            "summary": "This description",
            "security": [],
            "responses": {
                "200": json_answer(
                    "OpenAPI 3.1.",
                    {
                        "type": "object",
                        "properties": {
                            "openapi": {"const": "3.1.0"},
                            "info": {"type": "object", "required": ["title", "version"]},
                            "paths": {"type": "object", "minProperties": 1},
                        },
                        "required": ["openapi", "info", "paths"],
                    },
                )
            },
        }
    }
}

_TAGS = (health, auth, preferences, issuance, payments, realtime)


def document(*, title: str, version: str, session_cookie: str) -> dict[str, Any]:
    """The description of an application that goes by this name and sets this cookie.

    It is the caller's own, to be changed at will.
    """
    paths: Json = {}
    for tag in _TAGS:
        paths |= tag.PATHS
    described = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _INTRODUCTION.strip()},
        "servers": [{"url": "/"}],
        "tags": [tag.TAG for tag in _TAGS],
        "paths": paths | _DESCRIPTION,
        "components": components.all_of(session_cookie=session_cookie),
    }
    return deepcopy(described)
