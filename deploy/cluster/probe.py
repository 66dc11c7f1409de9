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
from wsgiref.util import setup_testing_defaults

DEFAULT_PATH = "/health/ready"
_BODY_SHOWN = 300
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
        "PATH_INFO": location,
        "QUERY_STRING": query,
        "RAW_URI": asked,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_SOFTWARE": "smart-factory",
        "wsgi.errors": sys.stderr,
        "wsgi.input": io.BytesIO(),
    }
    answered: list[str] = []

    def start_response(status: str, headers: object, exc_info: Any = None) -> object:  # noqa: ARG001
        answered.append(status)
        return lambda data: body.append(data)

    body: list[bytes] = []
    try:
        response = app(environ, start_response)
        try:
            for part in response:
                if sum(map(len, body)) < _BODY_READ:
                    body.append(part)
        finally:
            if hasattr(response, "close"):
                response.close()
    except Exception as error:
        why = f"GET {asked} raised {type(error).__name__}: {error}"
        return Verdict(passed=False, reason=why, traceback=traceback.format_exc())
    return judge(asked, answered[-1] if answered else "", b"".join(body), optional=path is None)


def judge(path: str, status: str, body: bytes, *, optional: bool) -> Verdict:
    """What an answer means. Pure."""
    number = status.split(" ", 1)[0]
    code = int(number) if number.isdecimal() else 0
    if 200 <= code < 400 or (optional and code == 404):
        return Verdict(passed=True, reason="")
    said = " ".join(body.decode(errors="replace").split())[:_BODY_SHOWN]
    return Verdict(
        passed=False,
        reason=f"GET {path} answered {status or 'nothing'}" + (f": {said}" if said else ""),
    )
