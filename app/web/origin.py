"""Who may change something through a browser: pages of our own host, and of CORS_ORIGINS."""

from __future__ import annotations

import re
from collections.abc import Collection

from flask import Flask, request
from werkzeug.wrappers import Request

from app.errors import ApiError

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_PORTS = {"http": 80, "https": 443}
_HOST = r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
_HOST_AND_PORT = re.compile(_HOST, re.ASCII)
_ORIGIN = re.compile(rf"(https?)://({_HOST})", re.ASCII)


def install(app: Flask, cors_origins: Collection[str]) -> None:
    """Refuses what changes something, and comes from a foreign page, with 403 cross_origin."""

    @app.before_request
    def refuse_foreign_pages() -> None:
        # With or without a cookie: a login that a foreign page makes is an attack as well.
        if request.method not in _SAFE and not allowed(request, cors_origins):
            raise ApiError(
                403, "cross_origin", "Pages of another origin may not do this; see CORS_ORIGINS."
            )


def allowed(request: Request, cors_origins: Collection[str]) -> bool:
    """Whether it comes from no page, from one of our own host, or from one of `cors_origins`.

    The scheme is not compared: where TLS ends in front of us, ours is not the browser's.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        # A program, or a browser that tells where the request comes from in its own words.
        return request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
    origin = origin.lower()
    if origin in cors_origins:
        return True
    match = _ORIGIN.fullmatch(origin)  # "null" is no origin of ours
    if match is None:
        return False
    default = _PORTS[match[1]]
    return _place(match[2], default) == _place(request.headers.get("Host", ""), default)


def _place(host: str, default: int) -> tuple[str, int] | None:
    match = _HOST_AND_PORT.fullmatch(host.lower())
    return None if match is None else (match[1], int(match[2] or default))
