"""What every answer tells browsers: this is data; nothing may be run, framed, guessed or kept."""

from __future__ import annotations

from flask import Flask, Response

_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),  # for browsers that do not know frame-ancestors
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    # Of no effect on CORS: it refuses <img> and <script>, which ask without.
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cache-Control", "no-store"),
)
# A year. Browsers heed it over TLS only; without TLS in front, in development, it has no business.
_IN_PRODUCTION = (("Strict-Transport-Security", "max-age=31536000"),)


def install(app: Flask, *, production: bool) -> None:
    """Puts them on every answer, errors too, save where a view has set a header itself."""
    headers = _ALWAYS + _IN_PRODUCTION if production else _ALWAYS

    @app.after_request
    def protect(response: Response) -> Response:
        for name, value in headers:
            response.headers.setdefault(name, value)
        return response
