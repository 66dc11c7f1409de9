"""The JSON body of a request, checked: what is wrong with it names the field."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from app.errors import ApiError


def json_object() -> dict[str, Any]:
    """The body, when it is a JSON object; raises ApiError 400, or 413, 415."""
    try:
        value = request.get_json()
    except UnsupportedMediaType:
        raise
    except (BadRequest, RecursionError):
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    return value


def text(fields: dict[str, Any], name: str, *, shortest: int = 1, longest: int) -> str:
    """The field, a text of `shortest` to `longest` characters; raises ApiError 422."""
    value = fields.get(name)
    if value is None:
        raise invalid(name, "is required")
    if not isinstance(value, str) or not _is_utf8(value):
        raise invalid(name, "must be a text")
    if not shortest <= len(value) <= longest:
        raise invalid(name, f"must have {shortest} to {longest} characters")
    return value


def invalid(name: str, why: str) -> ApiError:
    return ApiError(422, "invalid_field", f"{name}: {why}")


def _is_utf8(value: str) -> bool:
    # JSON can spell half a character ("\ud800"), which neither Postgres nor argon2 takes.
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
