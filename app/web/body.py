"""The JSON body of a request, checked: what is wrong with it names the field."""

from __future__ import annotations

from typing import Any, NoReturn

from flask import request
from flask.json import loads
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from app.errors import ApiError


def json_object() -> dict[str, Any]:
    """The body, when it is a JSON object; raises ApiError 400, or 413, 415."""
    if not request.is_json:
        raise UnsupportedMediaType
    try:
        value = loads(_whole(), parse_constant=_no_number)
    except (BadRequest, ValueError, RecursionError):
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


def is_text(value: str, *, shortest: int = 1, longest: int) -> bool:
    """Whether it can be stored, and has so many characters."""
    return shortest <= len(value) <= longest and _is_utf8(value)


def invalid(name: str, why: str) -> ApiError:
    return ApiError(422, "invalid_field", f"{name}: {why}")


def _whole() -> bytes:
    """The body; raises BadRequest, RequestEntityTooLarge."""
    try:
        data = request.get_data()
        # Of a body that does not tell its length Werkzeug reads no more than the limit, and says
        # nothing: what is beyond would be cut off, and the rest perhaps taken for the whole.
        full = request.content_length is None and len(data) == request.max_content_length
        more = full and request.input_stream.read(1)
    except HTTPException:
        raise
    except Exception as error:
        # For chunks that are none each server has errors of its own: the client is at fault.
        raise BadRequest from error
    if more:
        raise RequestEntityTooLarge
    return data


def _no_number(name: str) -> NoReturn:
    # Python reads and writes NaN, Infinity and -Infinity, which are no JSON: nobody else could.
    raise ValueError(name)


def _is_utf8(value: str) -> bool:
    # JSON can spell half a character ("\ud800"), which neither Postgres nor argon2 takes.
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
