"""Every error is JSON: {"error": {"code", "message", "request_id"}}."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from flask.json import dumps
from werkzeug.exceptions import HTTPException

from app.db import RETRY_AFTER, DatabaseUnavailable
from app.request_context import request_id

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "invalid_field",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}

# Werkzeug's own descriptions speak of browsers and proxies.
_MESSAGES = {
    404: "There is nothing at this address.",
    405: "This address does not take this method; the Allow header lists those it takes.",
    415: "The body must be JSON, sent as application/json.",
    500: "Something went wrong here; the request id finds it in our log.",
}

_AWAY = ("database_unavailable", "The database is not available; try again shortly.")
_ENDED = ("session_ended", "The session was ended by another request; log in again.")
_INTERNAL = (_CODES[500], _MESSAGES[500])


class ApiError(HTTPException):
    """A refusal with a status, a code for programs and a sentence for people."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ):
        super().__init__(message)
        self.code = status
        self.error_code = code
        self._headers = dict(headers or {})

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """As Werkzeug's, and those that go with this refusal: Retry-After, WWW-Authenticate."""
        return [*super().get_headers(*args, **kwargs), *self._headers.items()]


def body(code: str, message: str) -> dict[str, Any]:
    """The JSON of an error answer to the current request."""
    return {"error": {"code": code, "message": message, "request_id": request_id()}}


def rewrite_unavailable(response: Response) -> None:
    """Turns a finished answer into 503: what it says could not be saved."""
    _rewrite(response, HTTPStatus.SERVICE_UNAVAILABLE, _AWAY)
    response.headers["Retry-After"] = str(RETRY_AFTER)


def rewrite_ended(response: Response) -> None:
    """Turns a finished answer into 409: its session is over."""
    _rewrite(response, HTTPStatus.CONFLICT, _ENDED)


def rewrite_internal(response: Response) -> None:
    """Turns a finished answer into 500."""
    _rewrite(response, HTTPStatus.INTERNAL_SERVER_ERROR, _INTERNAL)


def _rewrite(response: Response, status: HTTPStatus, error: tuple[str, str]) -> None:
    # The ids and whatever else is in the headers stay, save what described the old body.
    for header in ("Set-Cookie", "ETag", "Last-Modified", "Location", "Content-Encoding"):
        response.headers.pop(header, None)
    response.direct_passthrough = False
    response.status_code = status
    response.mimetype = "application/json"
    response.set_data(dumps(body(*error)) + "\n")


def install(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DatabaseUnavailable, database_unavailable)


def _http(error: HTTPException) -> Response | HTTPException:
    # Also what Flask makes of an unexpected exception, after it logged the traceback.
    status = error.code
    if error.response is not None or status is None or status < HTTPStatus.BAD_REQUEST:
        return error  # a complete answer, or a redirection
    if isinstance(error, ApiError):
        code, message = error.error_code, error.description or ""
    else:
        code = _CODES.get(status) or HTTPStatus(status).name.lower()
        message = _message(status) or error.description or HTTPStatus(status).phrase
    response = jsonify(body(code, message))
    response.status_code = status
    for name, value in error.get_headers(request.environ):
        if name != "Content-Type":
            response.headers.add(name, value)
    return response


def _message(status: int) -> str | None:
    limit = request.max_content_length
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and limit is not None:
        # Not every address takes as much as another.
        size = f"{limit // 1024} KiB" if limit < 1024 * 1024 else f"{limit // (1024 * 1024)} MiB"
        return f"The body is larger than {size}."
    return _MESSAGES.get(status)


def database_unavailable(_: DatabaseUnavailable) -> Response:
    """The answer 503 of a request that needed Postgres while it was away."""
    # The reason is in the log, once an outage: see Database.
    response = jsonify(body(*_AWAY))
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response
