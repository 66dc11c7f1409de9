"""One client that looks before the load comes: does a peer answer as it should, and its cookies."""

from __future__ import annotations

import http.client

from bench.peers.workloads import Workload

_SECONDS = 30


class WrongAnswerError(RuntimeError):
    """A peer does not answer as the others; the message says what it was asked, and its answer."""


def check(workload: Workload, port: int, peer: str) -> None:
    """Raises WrongAnswerError unless the peer answers the workload's request as expected."""
    headers = {"Cookie": log_in(port)} if workload.sessions else {}
    response, body = _ask(port, workload.method, workload.path, workload.body, headers)
    if response.status != http.HTTPStatus.OK or not workload.expected(body):
        raise WrongAnswerError(
            f"{peer}: {workload.method} {workload.path}: {response.status} {body[:200]!r}"
        )


def log_in(port: int) -> str:
    """The cookie of a new session, as a request brings it."""
    response, body = _ask(port, "POST", "/login", b"", {})
    cookie = response.getheader("Set-Cookie")
    if response.status != http.HTTPStatus.OK or cookie is None:
        raise WrongAnswerError(f"POST /login: {response.status}, cookie {cookie!r}, {body[:200]!r}")
    return cookie.partition(";")[0]


def _ask(
    port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()
