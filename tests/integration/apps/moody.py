"""Applications with something wrong, each in its own way."""

import json
import os
import secrets
import time
from wsgiref.types import StartResponse, WSGIEnvironment

time.sleep(float(os.environ.get("BOOT_SECONDS") or 0))

_visitors: dict[str, dict[str, str]] = {}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answers 500 to /health in fork mode."""
    ill = environ["PATH_INFO"] == "/health" and os.environ["CLUSTER_MODE"] == "fork"
    start_response("500 Oh" if ill else "200 OK", [("X-Worker-ID", os.environ["WORKER_ID"])])
    return [b"ill" if ill else b"well"]


def without_health(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Knows nothing but /, and does not say who answers."""
    known = environ["PATH_INFO"] == "/"
    start_response("200 OK" if known else "404 Not Found", [])
    return [b"here" if known else b"nothing here"]


def forgetful(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Keeps visitors' preferences in the memory of one worker."""
    headers = [("X-Worker-ID", os.environ["WORKER_ID"])]
    token = environ.get("HTTP_COOKIE", "").partition("=")[2]
    if environ["REQUEST_METHOD"] == "PATCH":
        if not token:
            token = secrets.token_hex(4)
            headers.append(("Set-Cookie", f"visitor={token}; Path=/; HttpOnly"))
        size = int(environ["CONTENT_LENGTH"])
        _visitors.setdefault(token, {}).update(json.loads(environ["wsgi.input"].read(size)))
    start_response("200 OK", headers)
    return [json.dumps({"preferences": _visitors.get(token, {})}).encode()]
