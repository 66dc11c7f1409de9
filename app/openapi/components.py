"""What several operations share: error answers, headers, and how a client shows who it is."""

from __future__ import annotations

from app.openapi import issuance
from app.openapi.parts import Json, later, record, refusal

_SCHEMAS: Json = issuance.SCHEMAS | {
    "Error": record(
        {
            "code": {"type": "string", "pattern": "^[a-z][a-z_]*$"},
            "message": {"type": "string", "minLength": 1},
            "request_id": {"type": "string", "minLength": 1},
        }
    ),
    "User": record(
        {
            "id": {"type": "string", "format": "uuid"},
            "email": {
                "type": "string",
                "description": "Trimmed and in lower case.",
                "examples": ["ada@example.com"],
            },
        }
    ),
    "Worker": {"type": "string", "minLength": 1, "examples": ["worker-2"]},
    "Moment": {
        "type": "string",
        "format": "date-time",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        "description": "UTC, in milliseconds.",
        "examples": ["2026-11-22T12:00:00.123Z"],
    },
}

_HEADERS: Json = {
    "RequestId": {
        "description": "The id that was sent, when it was a sane one, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "WorkerId": {
        "description": "The worker that answered.",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    },
    "RetryAfter": {
        "description": "Seconds to wait before the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
}

_RESPONSES: Json = {
    "InvalidJson": refusal(
        "The body is not a JSON object.", "invalid_json", message="The body is not valid JSON."
    ),
    "Unauthenticated": refusal("Nobody is logged in.", "unauthenticated", message="Log in first."),
    "CrossOrigin": refusal(
        "The request comes from a page of another origin.",
        "cross_origin",
        message="Pages of another origin may not do this; see CORS_ORIGINS.",
    ),
    "TooLarge": refusal(
        "The body is too large.",
        "payload_too_large",
        message="The body is larger than 1 MiB.",
    ),
    "NotJson": refusal(
        "The body is not sent as application/json.",
        "unsupported_media_type",
        message="The body must be JSON, sent as application/json.",
    ),
    "InvalidField": refusal(
        "A member is missing or wrong; the message names it.",
        "invalid_field",
        message="email: is required",
    ),
    "SessionEnded": refusal(
        "The session was ended by another request meanwhile.",
        "session_ended",
        message="The session was ended by another request; log in again.",
    ),
    "DatabaseUnavailable": later(
        "The database is away.",
        "database_unavailable",
        message="The database is not available; try again shortly.",
    ),
}


def all_of(*, session_cookie: str) -> Json:
    """The components; `session_cookie` is the name of the cookie."""
    return {
        "schemas": _SCHEMAS,
        "headers": _HEADERS,
        "responses": _RESPONSES,
        "securitySchemes": {
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": session_cookie,
                "description": "Set by a login, or by the first request that keeps something.",
            },
            "internal": {
                "type": "http",
                "scheme": "bearer",
                "description": "INTERNAL_TOKEN, for our own services.",
            },
        },
    }
