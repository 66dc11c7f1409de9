"""The readiness probe: one request to the application, in the process that has just loaded it.

No listener and no HTTP is involved, so a worker can be asked before it accepts anything.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

DEFAULT_PATH = "/health/ready"
_SHOWN = 300
_BODY_READ = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the application said of itself."""

    passed: bool
    reason: str  # why it did not pass, in one line
    traceback: str = ""


def ask(app: Callable[..., Iterable[bytes]], path: str | None) -> Verdict:
    """GET `path`, None for the default one, which an application may lack: 404 then passes.

    Any answer from 200 to 399 passes. An empty path asks nothing.
    """
    if path == "":
        return Verdict(passed=True, reason="")
    asked = path or DEFAULT_PATH
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    location, _, query = asked.partition("?")
    environ |= {
        "PATH_INFO": unquote_to_bytes(location).decode("latin-1"),  # PEP 3333
        "QUERY_STRING": query,
        "RAW_URI": asked,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_SOFTWARE": "smart-factory",
        "wsgi.errors": sys.stderr,
        "wsgi.input": io.BytesIO(),
    }
    try:
        status, body = _answer(app, environ)
        return judge(asked, status, body, optional=path is None)
    except Exception as error:
        why = _line(f"GET {asked} raised {type(error).__name__}: {error}")
        return Verdict(passed=False, reason=why, traceback=traceback.format_exc())


def _answer(app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> tuple[str, bytes]:
    answered: list[str] = []
    body: list[bytes] = []

    def start_response(status: str, headers: object, exc_info: Any = None) -> object:  # noqa: ARG001
        answered.append(status)
        return body.append

    response = app(environ, start_response)
    try:
        for part in response:
            if sum(map(len, body)) < _BODY_READ:
                body.append(part)
    finally:
        if hasattr(response, "close"):
            response.close()
    return answered[-1] if answered else "", b"".join(body)


def judge(path: str, status: str, body: bytes, *, optional: bool) -> Verdict:
    """What an answer means. Pure."""
    number = status.split(" ", 1)[0]
    code = int(number) if number.isdecimal() else 0
    if 200 <= code < 400 or (optional and code == 404):
        return Verdict(passed=True, reason="")
    said = _line(body.decode(errors="replace"))
    return Verdict(
        passed=False,
        reason=f"GET {path} answered {status or 'nothing'}" + (f": {said}" if said else ""),
    )


def _line(text: str) -> str:
    """One line of bounded length, as a log and a status want it."""
    return " ".join(text.split())[:_SHOWN]
